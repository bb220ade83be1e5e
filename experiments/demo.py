"""The main job on the embedded phantom, through the command line that users have.

    python experiments/demo.py OUT

makes a phantom cohort, trains `strategy=mean_teacher` on it, judges the run on its test scans,
makes a report and segments one of them; then prints where everything is. OUT is made anew.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import time
from pathlib import Path

MARK = ".semilung-demo"


def semilung(*arguments: object) -> None:
    """Run one command, shown as a user would type it."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ semilung {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "semilung", *words], check=True)


def main() -> None:
    """Phantom, check, train, evaluate, report, predict."""
    out = Path(sys.argv[1])
    if out.exists():
        if not (out / MARK).exists():
            sys.exit(f"{out} exists and is no demo folder; choose another, or remove it yourself")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / MARK).touch()
    started = time.monotonic()
    phantom, run, masks = out / "phantom", out / "runs" / "mean_teacher", out / "masks"
    semilung("data", "phantom", phantom)
    semilung("data", "check", phantom / "manifest.csv")
    semilung(
        "train",
        "strategy=mean_teacher",
        "experiment=demo",
        f"data.manifest={phantom / 'manifest.csv'}",
        f"data.cache={out / 'cache'}",
        f"runs_dir={run.parent}",
        f"run_name={run.name}",
    )
    semilung("evaluate", run)
    semilung("report", run)
    with (phantom / "manifest.csv").open(newline="") as file:
        image = next(row["image"] for row in csv.DictReader(file) if row["split"] == "test")
    semilung("predict", phantom / image, "--run", run, "--out", masks)
    minutes = (time.monotonic() - started) / 60
    print(f"\nDone in {minutes:.1f} minutes.")
    print(f"report       {run / 'report' / 'index.html'}")
    print(f"figures      {run / 'evaluation-test-last'}")
    print(f"masks        {masks}")
    print(f"run          {run}")
    print(f"curves       tensorboard --logdir {run.parent}")


if __name__ == "__main__":
    main()
