"""`semilung predict`."""

from __future__ import annotations

import argparse
from pathlib import Path

from semilung.cli.messages import say
from semilung.cli.scheduler import add_scheduler
from semilung.types import UserError

CONFIDENT = 0.9
"""Least confidence of a pseudo-label's voxel, unless another is given."""


def add_predict(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `semilung predict`."""
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN",
                        help="CT volumes, or folders of DICOM slices; and settings: "
                        "inference.key=value instead of the run's")  # fmt: skip
    parser.add_argument("--run", type=Path, action="append", required=True, dest="runs",
                        help="a run's folder; give several to average them")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True,
                        help="folder for masks and findings")  # fmt: skip
    parser.add_argument("--checkpoint", choices=["last", "best"], default="last")
    parser.add_argument("--threshold", type=float, help="default: the run's")
    parser.add_argument("--format", default="nii.gz", help="of the masks: nii.gz (default), nii, "
                        "mha, nrrd, or dcm: DICOM SEG with a segment a nodule")  # fmt: skip
    parser.add_argument("--probability", action="store_true", help="write probabilities too")
    parser.add_argument("--page", action="store_true", help="write a page that shows the findings "
                        "of each scan too, their pictures, and OUT/index.html")  # fmt: skip
    parser.add_argument("--pseudo-labels", action="store_true",
                        help="write labels for another training too, unsure voxels set to 255, "
                        "and OUT/manifest.csv that names them")  # fmt: skip
    parser.add_argument("--confident", type=float, help="least confidence of a pseudo-label's "
                        f"voxel, 0.5 to 1; default {CONFIDENT}")  # fmt: skip
    parser.add_argument("--series", metavar="NUMBER", help="which series of a DICOM folder that "
                        "holds several; without it they are listed")  # fmt: skip
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace what exists")
    existing.add_argument("--resume", action="store_true",
                          help="go on where the same command stopped")  # fmt: skip
    add_scheduler(parser)
    parser.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> None:
    from semilung.api.predict_files import predict

    confident = arguments.confident
    if confident is not None and not arguments.pseudo_labels:
        raise UserError("--confident is the confidence of pseudo-labels: add --pseudo-labels")
    if confident is None and arguments.pseudo_labels:
        confident = CONFIDENT
    written = predict(
        arguments.runs,
        arguments.scans,
        arguments.out,
        checkpoint=arguments.checkpoint,
        settings=arguments.settings,
        threshold=arguments.threshold,
        format=arguments.format,
        probability=arguments.probability,
        page=arguments.page,
        confident=confident,
        overwrite=arguments.overwrite,
        resume=arguments.resume,
        series=arguments.series,
        progress=True,
        scheduler=arguments.scheduler,
    )
    for path in written:
        say(str(path))
