"""`semilung report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from semilung.cli.messages import say


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `semilung report`."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN_OR_SWEEP",
                        help="a sweep's folder, or run folders, all evaluated")  # fmt: skip
    parser.add_argument("--out", type=Path, help="default: report, in the first folder")
    parser.add_argument("--split", choices=["val", "test"], help="default: the sweep's; of runs "
                        "test where all were evaluated on it, else val")  # fmt: skip
    parser.add_argument("--metric", help="metric to compare arms by; default: "
                        "the score of the first task, Dice for segmentation")  # fmt: skip
    # the name of the option in earlier versions
    parser.add_argument("--figure", dest="metric", default=argparse.SUPPRESS,
                        help=argparse.SUPPRESS)  # fmt: skip
    parser.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    from semilung.api.report import report

    page = report(
        arguments.folders, out=arguments.out, split=arguments.split, metric=arguments.metric
    )
    say(f"report: {page}")
