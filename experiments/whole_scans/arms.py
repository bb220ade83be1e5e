"""Whole scans with and without a healthy scan in training, and with hard negatives from it.

    python experiments/lidc_cubes/manifest.py OUT/cubes
    python experiments/whole_scans/manifest.py OUT
    python experiments/whole_scans/arms.py OUT seeds=0,1,2 [key=value ...]

Trains `experiment=whole_scans` in the arms below, evaluates the last checkpoint on the whole scans
that the training did not see, and writes OUT/scans.csv, one row a run and scan, and prints its
means. Further words are settings of every arm. Trainings that are done are not repeated and
interrupted ones continue, so several processes may train seeds of their own and one of all seeds
reports.

Detection is measured at 4 false positives per LIDC scan: the threshold is the probability that
8 findings on the two scans exceed that are on nothing which a reader outlined. At this threshold
findings are counted on the subjects without nodules, too. False positives of the mask are given
without and with the gate of the recipe (`inference.gate`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from semilung import evaluate, train
from semilung.csv_tables import write_csv

OFF = "data.hard_negatives=0"
ARMS = {
    "no healthy": ("none", OFF, "data.batch.healthy=0"),
    "healthy normal_001": ("normal_001", OFF),
    "hard negatives normal_001": ("normal_001",),
    "healthy acrin013": ("acrin013", OFF),
    "hard negatives acrin013": ("acrin013",),
}
FP_PER_SCAN = 4

GATE = "0.4"
"""Of the recipe: the probability at which 80 % of the validation cubes' nodules are detected."""


def trained(out: Path, arm: str, seed: str, words: list[str]) -> Path:
    """Train an arm, or go on, unless it is done; return its run."""
    run = out / "runs" / f"{arm.replace(' ', '_')}-s{seed}"
    subject, *settings = ARMS[arm]
    if (run / "config.yaml").exists():
        train([f"resume={run}"])
    else:
        manifest, cache = out / subject / "manifest.csv", out / "cache"
        named = [f"data.manifest={manifest}", f"data.cache={cache}", f"runs_dir={run.parent}"]
        recipe = ["experiment=whole_scans", *settings, *words]
        train([*recipe, *named, f"run_name={run.name}", f"seed={seed}"])
    return run


def evaluated(out: Path, run: Path, arm: str, gate: str) -> dict[str, pd.DataFrame]:
    """Evaluate a run on unseen whole scans unless that was done; return the tables."""
    folder = run / f"evaluation-whole-gate{gate}-last"
    if not (folder / "summary.md").exists():
        manifest = out / ARMS[arm][0] / "test" / "manifest.csv"
        evaluate(run, manifest=manifest, settings=[f"inference.gate={gate}"], out=folder)
    names = ("cases", "lesions", "findings")
    return {name: pd.read_csv(folder / f"{name}.csv") for name in names}


def measured(out: Path, run: Path, arm: str) -> pd.DataFrame:
    """Return a row for each unseen scan."""
    tables = evaluated(out, run, arm, GATE)
    ungated = evaluated(out, run, arm, "0")["cases"].set_index("case")
    cases, findings = tables["cases"], tables["findings"]
    lesions = tables["lesions"][tables["lesions"]["nodule"].notna()]
    false = findings[findings["false"].astype(bool)]
    positive = cases["case"][cases["role"] == "labelled"]
    allowed = FP_PER_SCAN * len(positive)
    highest = np.sort(false["probability"][false["case"].isin(positive)])[::-1]
    threshold = highest[allowed] if len(highest) > allowed else 0.0
    rows = []
    for _, case in cases.iterrows():
        nodules = lesions[lesions["case"] == case["case"]]
        on_scan = false["probability"][false["case"] == case["case"]]
        plain = ungated.loc[case["case"]]
        rows.append(
            {
                "scan": case["case"],
                "threshold": threshold,
                "nodules": len(nodules),
                "detected": int((nodules["probability"] > threshold).sum()),
                "false_positives": int((on_scan > threshold).sum()),
                "mask_components": plain["fp_components"],
                "mask_ml": plain["fp_volume_mm3"] / 1000,
                "dice": plain["dice"],
                "gated_components": case["fp_components"],
                "gated_ml": case["fp_volume_mm3"] / 1000,
                "gated_dice": case["dice"],
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Train, evaluate, and print a table."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    out, words = Path(sys.argv[1]).resolve(), sys.argv[2:]
    seeds = next((w.split("=")[1] for w in words if w.startswith("seeds=")), "0,1,2").split(",")
    words = [word for word in words if not word.startswith("seeds=")]
    tables = []
    for seed in seeds:
        for arm in ARMS:
            table = measured(out, trained(out, arm, seed, words), arm)
            tables.append(table.assign(arm=arm, seed=int(seed)))
            print(tables[-1].round(3).to_string(index=False), flush=True)
    scans = pd.concat(tables)
    write_csv(out / "scans.csv", scans.round(4))
    means = scans.drop(columns="seed").groupby(["arm", "scan"], sort=False).mean()
    print(means.round(2).to_string())


if __name__ == "__main__":
    main()
