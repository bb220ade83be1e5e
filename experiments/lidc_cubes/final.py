"""Chosen runs on the 20 test cubes, at the threshold that each run's validation cubes choose.

    python experiments/lidc_cubes/final.py OUT RUN [RUN ...]

Run it once, when everything else has been decided. OUT is that of manifest.py. At its threshold
each run is judged on the held-out lung of the healthy subject and on background cubes too, and a
report in OUT/final holds all tables.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from compare import judge, semilung


def judged(run: Path, name: str, *words: object) -> pd.DataFrame:
    """The cases of an evaluation."""
    return pd.read_csv(judge(run, name, *words) / "cases.csv")


def main() -> None:
    """Judge every run, then report."""
    out, runs = Path(sys.argv[1]).resolve(), [Path(word).resolve() for word in sys.argv[2:]]
    for run in runs:
        test = judged(run, "test", "--split", "test", "--threshold", "val")
        threshold = test["threshold"].iloc[0]
        for cohort in ("healthy", "background"):
            cubes = ("--manifest", out / f"{cohort}.csv", "--threshold", threshold)
            judged(run, f"{cohort}_at_threshold", *cubes)
    sys.exit(semilung("report", *runs, "--split", "test", "--out", out / "final"))


if __name__ == "__main__":
    main()
