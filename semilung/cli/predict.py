"""`semilung predict`."""

from __future__ import annotations

import argparse

from semilung.cli.messages import say
from semilung.cli.scan_arguments import add_scan_arguments, scan_options
from semilung.types import UserError

CONFIDENT = 0.9
"""Least confidence of a pseudo-label's voxel, unless another is given."""


def add_predict(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `semilung predict`."""
    add_scan_arguments(parser, out="folder for masks and findings")
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
        threshold=arguments.threshold,
        format=arguments.format,
        probability=arguments.probability,
        page=arguments.page,
        confident=confident,
        **scan_options(arguments),
    )
    for path in written:
        say(str(path))
