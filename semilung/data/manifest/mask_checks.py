"""What a mask says: its nodules, and whether that is what its manifest row says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from semilung.data.content.voxel_checks import Issue
from semilung.data.io.volume import Volume
from semilung.data.manifest.cases import Case
from semilung.types import IGNORE

MANY_NODULES = 60
"""Labels are nodules; a mask with more values was a picture with shades of grey."""


@dataclass(frozen=True)
class MaskContent:
    """What a mask holds.

    Attributes:
        diameters_mm: Of each nodule (label 1 to 254), as of a ball of equal volume.
        ignored: Number of voxels of 255.
    """

    diameters_mm: tuple[float, ...]
    ignored: int


def mask_content(mask: Volume) -> MaskContent:
    """The nodules of a mask of type uint8."""
    counts = np.bincount(mask.data.ravel(), minlength=IGNORE + 1)
    voxels = counts[1:IGNORE]
    voxel_mm3 = abs(float(np.linalg.det(mask.affine[:3, :3])))
    diameters_mm = np.cbrt(6 / np.pi * voxel_mm3 * voxels[voxels > 0])
    return MaskContent(tuple(diameters_mm.tolist()), int(counts[IGNORE]))


def mask_issues(content: MaskContent, case: Case) -> Iterator[Issue]:
    """Where a mask contradicts its row, or leaves nothing to learn."""
    marked = bool(content.diameters_mm)
    if case.role == "healthy":
        if marked or content.ignored:
            msg = f"a healthy case holds no nodule, but {case.mask} has voxels that are not 0"
            yield Issue("error", msg)
        return
    if case.bag_label == 0 and marked:
        msg = f"bag_label is 0 (no nodule), but the mask marks {len(content.diameters_mm)}"
        yield Issue("error", f"{msg}; correct one of them")
    if case.bag_label == 1 and not marked and not content.ignored:
        msg = "bag_label is 1 (a nodule), but the mask is empty"
        yield Issue("error", f"{msg}; correct one of them, or give the case the role weak")
    if not marked and content.ignored:
        yield Issue(
            "warning",
            f"the mask holds 0 and 255 alone, {content.ignored} voxels of 255, which means ignore: "
            f"no nodule is left of it; did you mean 1?",
        )
    elif not marked and case.bag_label != 1:
        msg = "the mask of this labelled case is empty; is it healthy, or the mask another's?"
        yield Issue("warning", msg)
    if len(content.diameters_mm) > MANY_NODULES:
        msg = f"the mask has {len(content.diameters_mm)} labels, each of which is a nodule"
        yield Issue("warning", f"{msg}; is it a picture with shades of grey? Threshold it")
