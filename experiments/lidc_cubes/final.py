"""Chosen runs on the 20 test cubes, at the threshold that each run's validation cubes choose.

    python experiments/lidc_cubes/final.py OUT RUN [RUN ...]

Run it once, when everything else has been decided. OUT is that of manifest.py. At the same
thresholds the runs are judged on the held-out lung of the healthy subject and on background cubes,
and a report in OUT/final holds all tables.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from compare import semilung
from manifest import nodule_free


def main() -> None:
    """Judge what has not been judged, then report."""
    out, runs = Path(sys.argv[1]).resolve(), [Path(word).resolve() for word in sys.argv[2:]]
    lungs = nodule_free(Path(os.environ["SEMILUNG_DATA"]).resolve(), "healthy_cubes", "covid_ct_md")
    lungs[lungs["split"] == "val"].to_csv(out / "healthy.csv", index=False)
    sets = {
        "test": ("--split", "test"),
        "healthy_at_threshold": ("--manifest", out / "healthy.csv"),
        "background_at_threshold": ("--manifest", out / "background.csv"),
    }
    for run in runs:
        for name, which in sets.items():
            there = run / f"evaluation-{name}-last"
            if not (there / "summary.md").exists():
                chosen = (*which, "--threshold", "val", "--out", there)
                failed = semilung("evaluate", run, *chosen)
                if failed:
                    sys.exit(failed)
    sys.exit(semilung("report", *runs, "--split", "test", "--out", out / "final"))


if __name__ == "__main__":
    main()
