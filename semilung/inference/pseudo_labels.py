"""Predictions as labels for another training: unsure voxels are ignored, a manifest names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from semilung.data import Case, Volume, write_manifest
from semilung.data.manifest.nodules import FILE_NAME
from semilung.types import IGNORE, UserError

PSEUDO = "pseudo.nii.gz"
"""How the file of a scan's pseudo-label ends, whatever the format of its other files."""

MANIFEST = "manifest.csv"


def require_pseudo_labels(out: Path, confident: float, *, overwrite: bool) -> None:
    """Refuse, before anything is predicted, what could not be written at the end.

    Raises:
        UserError: `confident` is outside [0.5, 1], or `out` has a manifest that must stay.
    """
    if not 0.5 <= confident <= 1:
        msg = f"--confident is a probability in [0.5, 1], got {confident}; 0.9 is the usual choice"
        raise UserError(msg)
    if (out / FILE_NAME).exists():
        raise UserError(
            f"{out} has a {FILE_NAME}, which would be read with the manifest of the pseudo-labels; "
            f"choose another --out"
        )
    if (out / MANIFEST).exists() and not overwrite:
        raise UserError(
            f"{out} has a {MANIFEST} already; add --overwrite (overwrite=True in Python) to "
            f"replace it, or another --out"
        )


def confident_labels(mask: Volume, probability: Volume, confident: float) -> Volume:
    """The mask where the probability agrees with it and is sure, `ignore` elsewhere.

    Foreground stays where `p >= confident` and background where `1 - p >= confident`. A voxel that
    is sure by itself and was cut from the mask all the same (a component that is too small, another
    threshold) is ignored too.

    Args:
        mask: 0 or 1.
        probability: Of foreground.
        confident: In [0.5, 1].

    Returns:
        uint8: 0, 1, or 255 for unsure.

    Example:
        >>> p = np.array([0.02, 0.3, 0.7, 0.95, 0.99]).reshape(5, 1, 1)
        >>> mask = np.array([0, 0, 1, 1, 0]).reshape(5, 1, 1)
        >>> labels = confident_labels(Volume(mask, np.eye(4)), Volume(p, np.eye(4)), 0.9)
        >>> labels.data.ravel().tolist()
        [0, 255, 255, 1, 255]
    """
    foreground, p = mask.data > 0, probability.data
    labels = np.full(mask.shape, IGNORE, np.uint8)
    labels[foreground & (p >= confident)] = 1
    labels[~foreground & (1 - p >= confident)] = 0
    return Volume(labels, mask.affine)


def write_pseudo_manifest(out: Path, scans: Mapping[str, Path]) -> Path:
    """Write `manifest.csv`: each scan a labelled training case of a patient of its own.

    Args:
        out: The manifest's folder, where the pseudo-labels lie.
        scans: Scan's name to its image.

    Returns:
        The file written.
    """
    return write_manifest(
        out / MANIFEST,
        [
            Case(
                case=name,
                patient=name,
                image=image.expanduser().resolve(),
                role="labelled",
                mask=out / f"{name}_{PSEUDO}",
                split="train",
            )
            for name, image in scans.items()
        ],
    )
