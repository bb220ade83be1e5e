"""What centres and diameters are worth: 8 masks, 8 masks and 38 centres, and all 46 masks.

    python experiments/lidc_cubes/manifest.py OUT
    python experiments/lidc_cubes/boxes.py OUT
    python experiments/lidc_cubes/box_arms.py OUT seeds=0,1,2 [key=value ...]

Trains the three arms of each seed with `experiment=lidc_cubes`, 6000 steps by default, evaluates
the last checkpoint on the 16 validation cubes (test cubes stay closed), and prints the mean Dice of
each arm and its difference from all masks, paired by cube. Trainings that are done are not repeated
and interrupted ones continue, so several processes may work on seeds of their own
(`seeds=0`, `seeds=1`, ...) and one of all seeds reports. Further words are settings of every arm;
those of `strategies.box_supervised.` are for the arm of centres and diameters alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from compare import evaluate, semilung

from semilung.evaluation import compare_arms

FULL = "46 masks"
ARMS = {
    "8 masks": ("strategy=supervised", "data.labelled=8", "data.rest=drop"),
    "8 masks + 38 centres and diameters": (
        "strategy=box_supervised",
        "data.labelled=8",
        "data.rest=nodules",
        "data.batch.located=3",
    ),
    FULL: ("strategy=supervised", "data.labelled=46"),
}
OF_BOXES = "strategies.box_supervised."


def trained(out: Path, arm: str, seed: str, words: list[str]) -> Path:
    """Train an arm, or go on, unless it is done; return its run."""
    run = out / "runs" / f"{arm.replace(' ', '_')}-s{seed}"
    if (run / "config.yaml").exists():
        arguments = [f"resume={run}"]
    else:
        named = [word for word in words if arm.startswith("8 masks +") or OF_BOXES not in word]
        arguments = [
            "experiment=lidc_cubes",
            "trainer.max_steps=6000",
            f"data.manifest={out / 'manifest.csv'}",
            f"data.cache={out / 'cache'}",
            *ARMS[arm],
            *named,
            f"seed={seed}",
            f"runs_dir={run.parent}",
            f"run_name={run.name}",
        ]
    if semilung("train", *arguments):
        sys.exit(f"{run} could not be trained")
    return run


def main() -> None:
    """Train, evaluate on validation cubes, and compare."""
    out, words = Path(sys.argv[1]).resolve(), sys.argv[2:]
    seeds = next((w.split("=")[1] for w in words if w.startswith("seeds=")), "0,1,2").split(",")
    words = [word for word in words if not word.startswith("seeds=")]
    tables = []
    for seed in seeds:
        for arm in ARMS:
            run = trained(out, arm, seed, words)
            table = pd.read_csv(evaluate(run, "val", "--split", "val") / "cases.csv")
            tables.append(table[table["role"] == "labelled"].assign(arm=arm, seed=int(seed)))
    cases = pd.concat(tables)
    print(cases.pivot_table("dice", "arm", "seed", sort=False).round(3).to_string())
    print(compare_arms(cases, reference=FULL).round(3).to_string(index=False))
    mean = cases.groupby("arm")["dice"].mean()
    print((mean / mean[FULL]).round(3).to_string())


if __name__ == "__main__":
    main()
