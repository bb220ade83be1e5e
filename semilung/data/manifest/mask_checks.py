"""Content of a mask, and its agreement with the manifest row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from semilung.data.content.nodule_instances import nodule_instances
from semilung.data.content.voxel_checks import Issue
from semilung.data.io.grid import ball_diameter_mm
from semilung.data.io.volume import Volume
from semilung.data.manifest.cases import Case
from semilung.types import IGNORE

MANY_NODULES = 60
"""A mask with more nodules is likely a grey-scale image, or noise."""

SPECK_VOXELS = 4
"""A component with fewer voxels is likely no nodule of its own, but left over from an outline."""


@dataclass(frozen=True)
class MaskContent:
    """Content of a mask.

    Attributes:
        diameters_mm: Diameter of each nodule (`nodule_instances`), of the ball of equal volume.
        ignored: Number of voxels labelled 255.
        specks: Number of components of fewer than `SPECK_VOXELS` in a mask of one label.
    """

    diameters_mm: tuple[float, ...]
    ignored: int
    specks: int = 0


def mask_content(mask: Volume) -> MaskContent:
    """Measure the nodules of a uint8 mask."""
    instances = nodule_instances(mask.data)
    counts = np.bincount(instances.ravel(), minlength=IGNORE + 1)
    voxels = counts[1:IGNORE][counts[1:IGNORE] > 0]
    voxel_mm3 = abs(float(np.linalg.det(mask.affine[:3, :3])))
    diameters_mm = ball_diameter_mm(voxels, voxel_mm3)
    specks = 0 if instances is mask.data else int((voxels < SPECK_VOXELS).sum())
    return MaskContent(tuple(diameters_mm.tolist()), int(counts[IGNORE]), specks)


def mask_issues(content: MaskContent, case: Case) -> Iterator[Issue]:
    """Yield where a mask contradicts its row, or marks no nodule."""
    count = len(content.diameters_mm)
    if case.role == "healthy":
        if count or content.ignored:
            yield Issue(
                "error",
                f"a healthy case holds no nodule, but {case.mask} has voxels that are not 0; clear "
                f"the mask or change the role",
            )
        return
    if case.bag_label == 0 and count:
        yield Issue(
            "error",
            f"bag_label is 0 (no nodule), but the mask marks {count}; correct one of them",
        )
    if case.bag_label == 1 and not count and not content.ignored:
        yield Issue(
            "error",
            "bag_label is 1 (a nodule), but the mask is empty; correct one of them, or give the "
            "case the role weak",
        )
    if not count and content.ignored:
        yield Issue(
            "warning",
            f"the mask holds 0 and 255 alone, {content.ignored} voxels of 255, which means ignore: "
            f"it marks no nodule; did you mean 1?",
        )
    elif not count and case.bag_label != 1:
        yield Issue(
            "warning",
            "the mask of this labelled case is empty; is it healthy, or the mask another scan's?",
        )
    if count > MANY_NODULES:
        yield Issue(
            "warning",
            f"the mask has {count} nodules: labels, or components if it has one label; is it a "
            f"grey-scale image? Threshold it",
        )
    if content.specks:
        yield Issue(
            "warning",
            f"the mask has one label, so each of its {count} components is a nodule, but "
            f"{content.specks} have fewer than {SPECK_VOXELS} voxels; remove specks, or give each "
            f"nodule its own label",
        )
