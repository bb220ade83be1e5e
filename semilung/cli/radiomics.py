"""`semilung radiomics`."""

from __future__ import annotations

import argparse
from pathlib import Path

from semilung.cli.messages import say
from semilung.cli.scheduler import add_scheduler
from semilung.types import UserError


def add_radiomics(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `semilung radiomics`."""
    parser.add_argument("manifest", type=Path, help="and settings: spacing_mm=1 "
                        "interpolation=linear range_hu=[-1000,400] outlier_sigma=3 "
                        "bin_width_hu=25 bins=32 aggregation=3d_volume_merge")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="F.csv", help="table, a row a "
                        "nodule; settings, units and IBSI codes go into F.json")  # fmt: skip
    parser.add_argument("--run", type=Path, action="append", default=[], dest="runs",
                        help="use this run's masks of all cases, instead of the manifest's; give "
                        "several to average them")  # fmt: skip
    parser.add_argument("--checkpoint", choices=["last", "best"], help="of the run; default: last")
    parser.add_argument("--threshold", type=float, help="of the run's masks; default: the run's")
    parser.add_argument("--stability", type=Path, metavar="S.csv", help="table of the features' "
                        "stability over perturbed masks, too (nine times as long)")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="compute all cases anew")
    parser.add_argument("--processes", type=int, help="cases at a time; one a core, at most 8")
    add_scheduler(parser)
    parser.set_defaults(run=_radiomics)


def _radiomics(arguments: argparse.Namespace) -> None:
    if not arguments.runs and (arguments.checkpoint or arguments.threshold is not None):
        raise UserError("--checkpoint and --threshold are those of a run's masks: add --run RUN")
    from semilung.api.radiomics import radiomics

    written = radiomics(
        arguments.manifest,
        arguments.out,
        runs=arguments.runs,
        checkpoint=arguments.checkpoint or "last",
        threshold=arguments.threshold,
        settings=arguments.settings,
        stability=arguments.stability,
        overwrite=arguments.overwrite,
        progress=True,
        processes=arguments.processes,
        scheduler=arguments.scheduler,
    )
    say(f"{len(written.features)} nodules: {written.table}")
    if written.stability is not None:
        from semilung.radiomics import stable_features

        stable = len(stable_features(written.stability))
        say(f"{stable} of {len(written.stability)} features have an ICC of 0.75 or more: "
            f"{arguments.stability}")  # fmt: skip
