"""Masks of the segments that a user names, in 3D Slicer's `.seg.nrrd`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semilung.data.io.resample import resample_onto
from semilung.data.io.volume import SEGMENTATIONS, labels_fit, read_grid, read_volume, write_volume
from semilung.types import UserError


def named_mask(mask: Path, image: Path, segments: Sequence[str], target: Path) -> Path:
    """Return a mask file with the named segments: a new one, or `mask` where none are named.

    Masks in other formats have no names, and are returned as they are.

    Args:
        mask: A label map.
        image: Its scan.
        segments: Names, with `*` for anything; none for all segments.
        target: The new file, on the grid of the scan.

    Raises:
        UserError: A segmentation has no segment of these names, or is not on the scan's grid.
    """
    if not segments or mask.suffix.lower() not in SEGMENTATIONS:
        return mask
    labels, grid = read_volume(mask, segments=segments), read_grid(image)
    if not labels_fit(mask, labels, grid):
        raise UserError(
            f"{mask}: shape {labels.shape} or affine is not that of a part of {image}; save the "
            f"segmentation with the scan as its source geometry"
        )
    whole = resample_onto(labels, grid.shape, grid.affine, order=0, fill=0)
    write_volume(target, whole.data, grid.affine, like=image)
    return target
