"""The three arms on the real cubes, or any strategy, judged on the fixed validation fold.

    python experiments/lidc_cubes/manifest.py OUT
    python experiments/lidc_cubes/arms.py OUT [key=value ...] --labelled 8 --seeds 0 1 2
    python experiments/lidc_cubes/arms.py OUT --arms mil mean_teacher+nodule_insertion

Trains every arm with `experiment=lidc_cubes` and the overrides at equal steps, judges the last
checkpoint (nothing is picked), and adds a row a run to OUT/results.csv. Runs that have their row
are not repeated. `non_adjacency` wants `semilung data anatomy OUT/manifest.csv` before.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from semilung.config import load_run_config
from semilung.data import prepare
from semilung.evaluation import best_ball, content_blind_ball, dice
from semilung.files import write_text
from semilung.strategies import list_strategies
from semilung.training import split_cases

THREE = ("supervised, no healthy", "supervised", "mean_teacher")
OWN = {
    "mean_teacher": ["strategies.mean_teacher.weight=10"],
    "non_adjacency": ["data.manifest={out}/manifest_anatomy.csv"],
    "mil": ["data.rest=weak", "data.batch.weak=1", "data.bag_size=8", "strategies.mil.chunk=24"],
}
CENTRE_VOXEL = (23.5, 23.5, 23.5)
"""Where the nodules of the cubes sit, in RAS order."""


def arm_overrides(arm: str, out: Path) -> list[str]:
    """What an arm sets: `a+b` is a mixture."""
    if arm == THREE[0]:
        return ["strategy=supervised", "data.batch.healthy=0"]
    names = arm.split("+")
    if unknown := set(names) - set(list_strategies()):
        raise SystemExit(f"unknown strategies in --arms: {', '.join(sorted(unknown))}")
    own = [setting.format(out=out) for name in names for setting in OWN.get(name, [])]
    return [f"strategy=[{','.join(names)}]", *own]


def semilung(*arguments: object, log: Path) -> None:
    """Run a command on one thread, its output in a file."""
    command = [sys.executable, "-m", "semilung", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("a") as file:
        subprocess.run(command, check=True, env=environment, stdout=file, stderr=file)


def run_arm(out: Path, arm: str, labelled: int, seed: int, overrides: str) -> dict[str, object]:
    """Train and judge one arm; its row of results."""
    digest = hashlib.sha256(overrides.encode()).hexdigest()[:6]
    name = f"{arm.replace(', ', '_').replace(' ', '_')}-{labelled}-s{seed}-{digest}"
    run, log = out / "runs" / name, out / f"{name}.log"
    started = time.monotonic()
    if (run / "config.yaml").exists():
        semilung("train", f"resume={run}", log=log)
    else:
        semilung(
            "train",
            "experiment=lidc_cubes",
            f"data.manifest={out / 'manifest.csv'}",
            f"data.labelled={labelled}",
            f"seed={seed}",
            f"runs_dir={run.parent}",
            f"run_name={name}",
            *arm_overrides(arm, out),
            *overrides.split(),
            log=log,
        )
    minutes = (time.monotonic() - started) / 60
    semilung("evaluate", run, "--split", "val", "--out", run / "val", log=log)
    background = ["--manifest", out / "background.csv", "--out", run / "background"]
    semilung("evaluate", run, *background, log=log)
    row = {"arm": arm, "labelled": labelled, "seed": seed, "overrides": overrides}
    row["minutes"] = round(minutes, 1)
    cases = pd.read_csv(run / "val" / "cases.csv")
    positive, healthy = cases[cases["role"] == "labelled"], cases[cases["role"] == "healthy"]
    background_cases = pd.read_csv(run / "background" / "cases.csv")
    return row | {
        "dice": positive["dice"].mean(),
        "surface_dice_2mm": positive["surface_dice_2mm"].mean(),
        "missed": int((positive["predicted_volume_mm3"] == 0).sum()),
        "healthy_fp_mm3": healthy["fp_volume_mm3"].mean(),
        "healthy_fp_components": healthy["fp_components"].mean(),
        "background_fp_mm3": background_cases["fp_volume_mm3"].mean(),
        "background_fp_components": background_cases["fp_components"].mean(),
        "ball_dice": ball_dice(run),
    }


def ball_dice(run: Path) -> float:
    """Dice of the content-blind ball on the validation cubes, its radius fit on training ones."""
    config = load_run_config(run)
    masks = {}
    for split in ("train", "val"):
        cases = [c for c in split_cases([run], [config], split) if c.role == "labelled"]
        masks[split] = [item.read("mask") for item in prepare(cases, config.data, progress=False)]
    spacing_mm = (1.0, 1.0, 1.0)
    radii_mm = [3 + 0.25 * step for step in range(17)]
    radius_mm = best_ball(masks["train"], spacing_mm, radii_mm, CENTRE_VOXEL).radius_mm
    ball = content_blind_ball(masks["val"][0].shape, CENTRE_VOXEL, radius_mm, spacing_mm)
    return sum(dice(ball, mask) for mask in masks["val"]) / len(masks["val"])


def main() -> None:
    """All arms and seeds that have no row yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("overrides", nargs="*", help="of semilung train, before the options")
    parser.add_argument("--labelled", type=int, nargs="+", default=[8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(THREE), metavar="ARM",
                        help="strategies; a+b is a mixture")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    overrides = " ".join(arguments.overrides)
    out = arguments.out.resolve()
    table = out / "results.csv"
    done = pd.read_csv(table, keep_default_na=False).to_dict("records") if table.exists() else []
    keys = {(row["arm"], row["labelled"], row["seed"], row["overrides"]) for row in done}
    wanted = [
        (arm, labelled, seed, overrides)
        for labelled in arguments.labelled
        for seed in arguments.seeds
        for arm in arguments.arms
        if (arm, labelled, seed, overrides) not in keys
    ]

    lock = threading.Lock()

    def finish(key: tuple[str, int, int, str]) -> None:
        row = run_arm(out, *key)
        with lock:
            done.append(row)
            write_text(table, pd.DataFrame(done).to_csv(index=False))
            print(pd.DataFrame([row]).round(3).to_string(index=False, header=False), flush=True)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(finish, wanted))
    figures = ["dice", "healthy_fp_mm3", "background_fp_mm3", "ball_dice", "minutes"]
    means = (
        pd.DataFrame(done).groupby(["labelled", "arm", "overrides"])[figures].agg(["mean", "std"])
    )
    print(means.round(3).to_string())


if __name__ == "__main__":
    main()
