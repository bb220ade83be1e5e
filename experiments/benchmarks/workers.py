"""Scans an hour against workers: `data prepare` in processes, and on a Dask cluster.

    python experiments/benchmarks/workers.py [--scans 12] [--size 192] [--workers 1 2]

Procedural chest CTs of 192^3 voxels at 1.5 mm are prepared into a new cache each time. The start of
the workers is part of the time: it is what a small cohort pays, and a large one does not notice.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from semilung.data import DataConfig, prepare, read_manifest
from semilung.data.phantom import write_phantom


def seconds(manifest: Path, workers: int, scheduler: str | None) -> float:
    """Time of preparing all scans of a manifest."""
    with tempfile.TemporaryDirectory() as cache:
        cases = read_manifest(manifest)
        began = time.perf_counter()
        prepare(
            cases,
            DataConfig(cache=cache),
            progress=False,
            processes=workers,
            scheduler=scheduler,
        )
        return time.perf_counter() - began


def main() -> None:
    """Print scans an hour of each way and number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=12)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_phantom(
            Path(folder) / "cohort", scans=args.scans, size=args.size, spacing_mm=1.5
        )
        print("| workers | processes, scans an hour | Dask, scans an hour |")
        print("|---|---|---|")
        for workers in args.workers:
            rates = [
                args.scans / seconds(manifest, workers, scheduler) * 3600
                for scheduler in (None, "local")
            ]
            print(f"| {workers} | " + " | ".join(f"{rate:.0f}" for rate in rates) + " |")


if __name__ == "__main__":
    main()
