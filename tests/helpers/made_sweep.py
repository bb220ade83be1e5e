"""Run and sweep folders in the format of train, evaluate and ablate, with chosen metrics."""

import json

import numpy as np
import pandas as pd
import yaml

from semilung.evaluation import write_png

NODULES = ("n1", "n2", "n3", "n4")
HEALTHY = ("h1", "h2")

CONFIG = {
    "data": {"manifest": "/home/ann/my scans/manifest.csv", "labelled": 8, "batch": {"healthy": 1}},
    "strategies": {"supervised": {}},
    "seed": 0,
}


def cases(dice, fp_mm3=(0.0, 0.0), nodules=NODULES, healthy=HEALTHY):
    """Return a `cases.csv` of given Dice (cases with a nodule) and mm3 of false positives."""
    positive = [
        {"case": name, "cohort": "lidc", "role": "labelled", "dice": value, "hd95_mm": 5.0,
         "surface_dice_2mm": value, "reference_volume_mm3": 100.0, "predicted_volume_mm3": 90.0,
         "fp_components": 0, "fp_volume_mm3": 0.0}
        for name, value in zip(nodules, dice, strict=True)
    ]  # fmt: skip
    silent = [
        {"case": name, "cohort": "covid", "role": "healthy", "reference_volume_mm3": 0.0,
         "predicted_volume_mm3": value, "fp_components": int(value > 0), "fp_volume_mm3": value}
        for name, value in zip(healthy, fp_mm3, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(positive + silent)


def lesions(detected=(True, True, False, True)):
    """Return a `lesions.csv` with one lesion of 8 mm per case."""
    return pd.DataFrame(
        {"case": NODULES, "cohort": "lidc", "instance": 1, "volume_mm3": 268.0,
         "diameter_mm": 8.0, "detected": detected, "iou": 0.5, "dice": 0.6}
    )  # fmt: skip


def write_evaluation(run, table, name="val-last", pictures=()):
    """Write the folder of an evaluation."""
    folder = run / f"evaluation-{name}"
    folder.mkdir(parents=True)
    table.to_csv(folder / "cases.csv", index=False)
    rows = lesions()
    rows[rows["case"].isin(table["case"])].to_csv(folder / "lesions.csv", index=False)
    for case in pictures:
        write_png(folder / "overlays" / f"{case}.png", np.full((8, 24, 3), 90, np.uint8))


def write_run(folder, table, *, strategies=("supervised",), seed=0, splits=None, **settings):
    """Write a run with its evaluation on val; `settings` are nested parts of its config."""
    folder.mkdir(parents=True)
    arm = {"strategies": {name: {} for name in strategies}, "seed": seed}
    config = {**CONFIG, **arm, **settings}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    splits = splits or {
        "t1": {"role": "labelled", "split": "train"},
        **{name: {"role": "labelled", "split": "val"} for name in NODULES},
        **{name: {"role": "healthy", "split": "val"} for name in HEALTHY},
    }
    (folder / "splits.json").write_text(json.dumps(splits))
    steps = "step,name,value\n10,terms/supervised/labelled,0.9\n20,terms/supervised/labelled,0.5\n"
    (folder / "metrics.csv").write_text(steps + "10,val/dice,0.3\n20,val/dice,0.6\n")
    provenance = {
        "command": ["semilung", "train", "data.manifest=/home/ann/my scans/manifest.csv"],
        "git_revision": "abc", "python": "3.11", "versions": {"torch": "2.13.0"},
    }  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps(provenance))
    write_evaluation(folder, table, pictures=("n1", "n4", "h1"))
    return folder


ARMS = {
    "supervised, no healthy": (("supervised",), (0.5, 0.6, 0.4, 0.5), (400.0, 600.0)),
    "supervised": (("supervised",), (0.5, 0.5, 0.4, 0.6), (20.0, 0.0)),
    "mean_teacher": (("supervised", "mean_teacher"), (0.7, 0.6, 0.5, 0.8), (10.0, 0.0)),
}


def write_sweep(folder, *, seeds=(0, 1, 2), budgets=(), arms=ARMS):
    """Write a sweep over arms and seeds, and over `data.labelled` if there are budgets."""
    rows = []
    for arm, (strategies, dice, fp_mm3) in arms.items():
        for seed in seeds:
            for budget in budgets or (None,):
                name = f"r{len(rows)}"
                gain = 0.0 if budget is None else budget / 100
                table = cases([value + gain + 0.01 * seed for value in dice], fp_mm3)
                healthy = int("no healthy" not in arm)
                data = {**CONFIG["data"], "labelled": budget or 8, "batch": {"healthy": healthy}}
                run = folder / "runs" / name
                write_run(run, table, strategies=strategies, seed=seed, data=data)
                cost = {"seconds": 60.0, "steps": 20, "peak_memory_mib": 512.0, "threads": 1}
                (run / "cost.json").write_text(json.dumps(cost))
                axes = {} if budget is None else {"data.labelled": budget}
                rows.append({"run": name, "arm": arm, "seed": seed, **axes, "split": "val"})
    pd.DataFrame(rows).to_csv(folder / "results.csv", index=False)
    (folder / "sweep.yaml").write_text(yaml.safe_dump({"split": "val", "equal": "steps"}))
    return folder
