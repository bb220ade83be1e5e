"""`semilung characterize --run`: given findings described by a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from semilung.cli.messages import say
from semilung.types import UserError


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments by which a run describes findings."""
    group = parser.add_argument_group("description of given findings by a run")
    group.add_argument("--run", type=Path, action="append", dest="runs", help="folder of a run of "
                       "characterization; give several to average them")  # fmt: skip
    group.add_argument("--scan", type=Path, nargs="+", action="extend", dest="scans",
                       metavar="SCAN", help="CT volumes, or folders of DICOM slices: the scans of "
                       "the findings")  # fmt: skip
    group.add_argument("--checkpoint", choices=["last", "best"],
                       help="of the run; default: last")  # fmt: skip
    group.add_argument("--frame", choices=["lps", "ras"], help="of the coordinates; default: that "
                       "of the table's column frame, or else lps as LUNA16 and DICOM")  # fmt: skip
    group.add_argument("--overwrite", action="store_true", help="replace --out if it exists")
    group.add_argument("--series", metavar="NUMBER", help="which series of a DICOM folder that "
                       "holds several")  # fmt: skip


def characterize_run(arguments: argparse.Namespace) -> None:
    """Describe `arguments.tables` of `arguments.scans`, and write `arguments.out`."""
    if not arguments.runs or not arguments.scans:
        lacking = "--scan" if arguments.runs else "--run"
        raise UserError(
            f"{lacking} is missing: a run (--run) describes the findings of scans (--scan)"
        )
    from semilung.api.describe import describe

    describe(
        arguments.runs,
        arguments.tables,
        arguments.scans,
        arguments.out,
        checkpoint=arguments.checkpoint or "last",
        settings=arguments.settings,
        frame=arguments.frame,
        overwrite=arguments.overwrite,
        series=arguments.series,
        progress=True,
    )
    say(str(arguments.out))
