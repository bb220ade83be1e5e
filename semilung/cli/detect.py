"""`semilung detect`."""

from __future__ import annotations

import argparse

from semilung.cli.messages import say
from semilung.cli.scan_arguments import add_scan_arguments, scan_options


def add_detect(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `semilung detect`."""
    add_scan_arguments(parser, out="folder for tables and pages")
    parser.add_argument("--min-probability", type=float, metavar="P", help="least probability of a "
                        "finding; default: the run's")  # fmt: skip
    parser.set_defaults(run=_detect)


def _detect(arguments: argparse.Namespace) -> None:
    from semilung.api.detect import detect

    written = detect(
        arguments.runs,
        arguments.scans,
        arguments.out,
        min_probability=arguments.min_probability,
        **scan_options(arguments),
    )
    for path in written:
        say(str(path))
