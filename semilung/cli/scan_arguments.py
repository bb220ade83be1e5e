"""Arguments of the commands that predict scans."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from semilung.cli.scheduler import add_scheduler


def add_scan_arguments(parser: argparse.ArgumentParser, *, out: str) -> None:
    """Add the scans, the runs that predict them, and where and how files are written.

    Args:
        parser: Of the command.
        out: What the folder `--out` is for.
    """
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN",
                        help="CT volumes, or folders of DICOM slices; and settings: "
                        "inference.key=value instead of the run's")  # fmt: skip
    parser.add_argument("--run", type=Path, action="append", required=True, dest="runs",
                        help="a run's folder; give several to average them")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help=out)
    parser.add_argument("--checkpoint", choices=["last", "best"], default="last")
    parser.add_argument("--frame", choices=["lps", "ras"], default="lps", help="of the coordinates "
                        "of findings: lps as LUNA16 and DICOM (default), or ras as NIfTI"
                        )  # fmt: skip
    parser.add_argument("--series", metavar="NUMBER", help="which series of a DICOM folder that "
                        "holds several; without it they are listed")  # fmt: skip
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace what exists")
    existing.add_argument("--resume", action="store_true",
                          help="go on where the same command stopped")  # fmt: skip
    add_scheduler(parser)


def scan_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return these arguments, but for scans, runs and folder, as keywords of a function."""
    names = ("checkpoint", "settings", "frame", "series", "overwrite", "resume", "scheduler")
    return {name: getattr(arguments, name) for name in names} | {"progress": True}
