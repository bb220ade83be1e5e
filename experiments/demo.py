"""Demo: the complete workflow on the embedded phantom, through the command line.

    python experiments/demo.py OUT

makes a phantom cohort, trains two arms on it, `supervised` and `mean_teacher`, with the same
labels, seed and steps, evaluates both on the test scans, writes one report, and segments a test
scan. The last lines print the metrics and the paths of all results. OUT is overwritten.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import time
from pathlib import Path

MARK = ".semilung-demo"
ARMS = {"supervised": (), "mean_teacher": ("strategies.mean_teacher.weight=10",)}
COHORT = ("--scans", 100, "--size", 64, "--spacing-mm", 2.5, "--seed", 1)


def semilung(*arguments: object) -> None:
    """Print and run one command."""
    subprocess.run(shown(*arguments), check=True)


def shown(*arguments: object) -> list[str]:
    """Print a command as a user types it; return it for this Python."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ semilung {' '.join(words)}", flush=True)
    return [sys.executable, "-m", "semilung", *words]


def train(manifest: Path, runs: list[Path], out: Path) -> None:
    """Train all arms in parallel, one CPU thread each; show the progress of the last one."""
    trainings = []
    for run in runs:
        command = shown(
            "train",
            f"strategy={run.name}",
            "experiment=demo",
            *ARMS[run.name],
            f"data.manifest={manifest}",
            f"data.cache={out / 'cache'}",
            f"runs_dir={run.parent}",
            f"run_name={run.name}",
        )
        if run != runs[-1]:
            print(f"(its log: {out / run.name}.log)")
        log = None if run == runs[-1] else (out / f"{run.name}.log").open("w")
        trainings.append(subprocess.Popen(command, stdout=log, stderr=log))
    failed = [training.wait() for training in trainings]  # all of them end before anything else
    if any(failed):
        sys.exit("a training failed; its message is above or in its log")


def metrics(run: Path) -> str:
    """Return the test metrics of a run in one line."""
    with (run / "evaluation-test-last" / "cases.csv").open(newline="") as file:
        cases = list(csv.DictReader(file))
    dice = [float(case["dice"]) for case in cases if case["dice"]]
    false = [int(float(case["fp_components"])) for case in cases if case["role"] == "healthy"]
    return (
        f"Dice {sum(dice) / len(dice):.3f} on {len(dice)} scans with nodules, "
        f"{sum(false)} false positives on {len(false)} healthy scans"
    )


def main() -> None:
    """Run phantom, check, two trainings, evaluation, report and prediction."""
    out = Path(sys.argv[1])
    if out.exists():
        if not (out / MARK).exists():
            sys.exit(f"{out} exists and is no demo folder; choose another, or remove it yourself")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / MARK).touch()
    started = time.monotonic()
    manifest, masks, report = out / "phantom" / "manifest.csv", out / "masks", out / "report"
    runs = [out / "runs" / arm for arm in ARMS]
    semilung("data", "phantom", manifest.parent, *COHORT)
    semilung("data", "check", manifest)
    semilung("data", "prepare", manifest, "spacing_mm=null", f"cache={out / 'cache'}")
    train(manifest, runs, out)
    for run in runs:
        semilung("evaluate", run)
    semilung("report", *runs, "--out", report)
    with manifest.open(newline="") as file:
        image = next(row["image"] for row in csv.DictReader(file) if row["split"] == "test")
    semilung("predict", manifest.parent / image, "--run", runs[-1], "--out", masks)
    minutes = (time.monotonic() - started) / 60
    print(f"\nDone in {minutes:.1f} minutes.")
    for run in runs:
        print(f"{run.name:12} {metrics(run)}")
    print(f"report       {report / 'index.html'}")
    print(f"masks        {masks}")
    print(f"runs         {out / 'runs'}")
    print(f"curves       tensorboard --logdir {out / 'runs'}")


if __name__ == "__main__":
    main()
