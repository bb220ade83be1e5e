"""A cohort of 100,000 cases: how long it takes to open, and what a loader holds of it.

    python experiments/benchmarks/cohort.py [--cases 100000] [--steps 600]

The manifest is made up: no scan exists, which opening must not notice. Loaders read one small
cached volume under the names of all cases; a worker's memory is what it does not share
(`Private` of `/proc/PID/smaps_rollup`). `semilung data prepare` is timed on copies of one phantom.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from semilung.data import (
    AugmentConfig,
    Case,
    DataConfig,
    PreparedCase,
    apply_label_budget,
    assign_splits,
    build_loader,
    keep_healthy,
    open_cohort,
    prepare,
    read_manifest,
)
from semilung.data.phantom import write_phantom

T = TypeVar("T")


def write_manifest(path: Path, n: int) -> None:
    """One labelled and one weak scan in twenty, four unlabelled, the others healthy."""
    roles = ["labelled", "weak", *["unlabelled"] * 4, *["healthy"] * 14]
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        known = ["case", "patient", "image", "role", "mask", "bag_label", "cohort"]
        table.writerow([*known, "histology"])
        for i in range(n):
            role, name = roles[i % 20], f"case{i:06d}"
            mask = f"masks/{name}.nii.gz" if role == "labelled" else ""
            bag = "1" if role == "weak" else ""
            image = f"scans/site{i % 7}/{name}.nii.gz"
            table.writerow([name, f"pat{i // 2}", image, role, mask, bag, f"site{i % 7}", "?"])


def timed(name: str, work: Callable[[], T]) -> T:
    """Do it, and print a row of wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"| {name} | {wall:.2f} | {processor:.2f} |", flush=True)
    return result


def opening(folder: Path, n: int) -> None:
    """Seconds of each part, and of the whole."""
    config = DataConfig(manifest=str(folder / "m.csv"), labelled=n // 100, healthy=n // 4)
    write_manifest(folder / "m.csv", n)
    print("| opening | wall s | CPU s |\n|---|---|---|")
    cases = timed("read_manifest", lambda: read_manifest(folder / "m.csv"))
    shares = {"val_fraction": 0.2, "test_fraction": 0.2}
    split = timed("assign_splits", lambda: assign_splits(cases, seed=0, **shares))
    budget = timed(
        "apply_label_budget",
        lambda: apply_label_budget(split, labelled=n // 100, rest="unlabelled", seed=0),
    )
    timed("keep_healthy", lambda: keep_healthy(budget, n // 4, seed=0))
    timed("**open_cohort**", lambda: open_cohort(config, seed=0))


def private_mib(pid: int) -> float:
    """Memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


def drawing(item: PreparedCase, n: int, steps: int) -> None:
    """A worker's memory and pace in the course of its draws."""
    cases = [PreparedCase(replace(item.case, case=f"c{i}"), dict(item.files)) for i in range(n)]
    config = DataConfig(crop=(16, 16, 16), batch={"healthy": 16}, workers=1)
    loader = build_loader(
        {"healthy": cases},
        config,
        AugmentConfig(affine_probability=0),
        seed=0,
        start_step=0,
        max_steps=steps,
        views=("weak",),
    )
    print("\n| crops drawn | worker's own MiB | ms a crop |\n|---|---|---|")
    batches, start = iter(loader), time.perf_counter()
    pid = batches._workers[0].pid  # type: ignore[attr-defined]
    for step, _ in enumerate(batches, start=1):
        if step % max(1, steps // 4) == 0:
            ms = (time.perf_counter() - start) / step / 16 * 1000
            print(f"| {16 * step} | {private_mib(pid):.0f} | {ms:.2f} |", flush=True)


def preparing(folder: Path, scans: int) -> None:
    """Seconds of preparing with one process and with two, and of finding all of it done."""
    table = read_manifest(write_phantom(folder / "p", scans=scans, size=96, spacing_mm=3.0))
    print(f"\n| preparing {scans} scans of 96^3 to 1.5 mm | wall s | CPU s |\n|---|---|---|")
    for processes in (1, 2):
        config = DataConfig(cache=str(folder / f"c{processes}"), spacing_mm=(1.5, 1.5, 1.5))
        work = {"progress": False, "processes": processes}
        timed(f"{processes} at a time", lambda: prepare(table, config, **work))  # noqa: B023
    timed("again", lambda: prepare(table, config, progress=False))


def main() -> None:
    """Print three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=600, help="of 16 crops")
    parser.add_argument("--scans", type=int, default=8, help="prepared with 1 and 2 processes")
    args = parser.parse_args()
    print(f"{args.cases} cases, {os.cpu_count()} cores, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        opening(folder, args.cases)
        preparing(folder, args.scans)
        scan = read_manifest(folder / "p" / "manifest.csv")[0].image
        config = DataConfig(cache=str(folder / "c1"), spacing_mm=(3.0, 3.0, 3.0))
        (item,) = prepare([Case("a", "a", scan, "healthy")], config, progress=False)
        drawing(item, args.cases, args.steps)


if __name__ == "__main__":
    main()
