"""Chosen runs on the 20 test cubes, at the threshold that each run's validation cubes choose.

    python experiments/lidc_cubes/final.py OUT RUN [RUN ...]

Run it once, when everything else has been decided. OUT is that of manifest.py. At its threshold
each run is judged on the held-out lung of the healthy subject and on background cubes too, and a
report in OUT/final holds all tables.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd
from compare import semilung
from manifest import nodule_free


def judge(run: Path, name: str, *words: object) -> pd.DataFrame:
    """The cases of an evaluation; what has been judged is not judged again."""
    there = run / f"evaluation-{name}-last"
    if not (there / "summary.md").exists() and semilung("evaluate", run, *words, "--out", there):
        sys.exit(f"{run} could not be judged")
    return pd.read_csv(there / "cases.csv")


def main() -> None:
    """Judge every run, then report."""
    out, runs = Path(sys.argv[1]).resolve(), [Path(word).resolve() for word in sys.argv[2:]]
    lungs = nodule_free(Path(os.environ["SEMILUNG_DATA"]).resolve(), "healthy_cubes", "covid_ct_md")
    lungs[lungs["split"] == "val"].to_csv(out / "healthy.csv", index=False)
    for run in runs:
        test = judge(run, "test", "--split", "test", "--threshold", "val")
        threshold = test["threshold"].iloc[0]
        for cohort in ("healthy", "background"):
            cubes = ("--manifest", out / f"{cohort}.csv", "--threshold", threshold)
            judge(run, f"{cohort}_at_threshold", *cubes)
    sys.exit(semilung("report", *runs, "--split", "test", "--out", out / "final"))


if __name__ == "__main__":
    main()
