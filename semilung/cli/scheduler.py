"""The option `--scheduler` of commands that work on many scans."""

from __future__ import annotations

import argparse


def add_scheduler(parser: argparse.ArgumentParser) -> None:
    """Add `--scheduler` to a command."""
    parser.add_argument("--scheduler", metavar="local|ADDRESS", help="work on a Dask cluster, "
                        "this machine's or an institute's (extra dask)")  # fmt: skip
