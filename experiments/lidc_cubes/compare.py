"""Comparison of strategies on LIDC-IDRI cubes: ablation, false positives on background, report.

    python experiments/lidc_cubes/manifest.py OUT
    semilung data anatomy OUT/manifest.csv
    python experiments/lidc_cubes/compare.py OUT strategy=mil,anomaly seed=0,1 data.labelled=8

Arguments are those of `semilung ablate`. All runs share the recipe `experiment=lidc_cubes` and the
validation cubes of `manifest.py`; the last checkpoint is evaluated. After an interruption,
the same command continues.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SHARED = (
    "experiment=lidc_cubes",
    # cubes beyond the budget are weak: only their scan label is known
    "data.rest=weak",
    "data.batch.weak=1",
    # every crop of 32 mm that fits a cube holds its centre, where the nodule is: two are a bag
    "data.bag_size=2",
    "strategies.mean_teacher.weight=10",
)


def semilung(*arguments: object) -> int:
    """Run a command on one thread."""
    command = [sys.executable, "-m", "semilung", *map(str, arguments)]
    return subprocess.run(
        command, check=False, env={"OMP_NUM_THREADS": "1", **os.environ}
    ).returncode


def evaluate(run: Path, name: str, *words: object) -> Path:
    """Evaluate a run unless that was done; return the folder of its tables."""
    there = run / f"evaluation-{name}-last"
    if not (there / "summary.md").exists() and semilung("evaluate", run, *words, "--out", there):
        sys.exit(f"{run} could not be evaluated")
    return there


def main() -> None:
    """Ablate, evaluate on background cubes, and report."""
    out, words = Path(sys.argv[1]).resolve(), sys.argv[2:]
    sweep = out / "sweep"
    manifest = f"data.manifest={out / 'manifest_anatomy.csv'}"
    failed = semilung("ablate", *SHARED, manifest, f"sweep_dir={sweep}", *words)
    if failed:
        sys.exit(failed)
    for row in sorted(sweep.glob("runs/*/row.json")):
        evaluate(row.parent, "background", "--manifest", out / "background.csv")
    sys.exit(semilung("report", sweep))


if __name__ == "__main__":
    main()
