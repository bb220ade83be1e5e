"""Consistency of a scan's nodules with its image, its mask and one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.content.nodule_instances import nodule_instances
from semilung.data.content.voxel_checks import Issue, whole_labels
from semilung.data.io.grid import ball_diameter_mm, ball_voxels, contains, voxel_of
from semilung.data.io.volume import Volume
from semilung.data.manifest.nodules import UNMEASURED_MM, Nodule
from semilung.types import IGNORE

AIR_HU = -900.0
"""No voxel above it around a centre: air or lung without a nodule; ground glass has -650 HU."""

CORE_MM = 15.0

DIAMETER_RATIO = 2.0
"""Axial diameters and those of a ball of the mask's volume differ by less in LIDC-IDRI."""


def nodule_issues(
    nodules: Sequence[Nodule], image: Volume, mask: Volume | None = None
) -> Iterator[tuple[str, Issue]]:
    """Check one scan's nodules.

    Args:
        nodules: Of the scan, with centres in RAS+ mm.
        image: In HU.
        mask: 0 background, 1 to 254 nodules, 255 ignore; None where there is none.

    Yields:
        Name of the nodule and an issue: a centre outside the volume or in air, two centres of one
        nodule, a nodule that the mask does not mark, a marked one that is not listed, another
        diameter than the mask's.
    """
    inside = []
    for nodule in nodules:
        issue = _place_issue(nodule, image)
        if issue is not None:
            yield nodule.name, issue
        else:
            inside.append(nodule)
    certain = [nodule for nodule in inside if not nodule.ignored]
    yield from _doubles(certain)
    if mask is not None and len(certain) == sum(not nodule.ignored for nodule in nodules):
        yield from _mask_issues(certain, mask)


def _place_issue(nodule: Nodule, image: Volume) -> Issue | None:
    """A centre outside the volume, or one with nothing but air around it."""
    if not contains(image.shape, voxel_of(image.affine, nodule.centre_mm)):
        x_mm, y_mm, z_mm = nodule.centre_mm
        lps = "; it is inside with x and y negated: are these LPS coordinates (LUNA16, DICOM)?"
        mirrored = voxel_of(image.affine, (-x_mm, -y_mm, z_mm))
        hint = lps if contains(image.shape, mirrored) else ""
        return Issue(
            "error", f"the centre ({x_mm:g}, {y_mm:g}, {z_mm:g}) mm is outside the volume{hint}"
        )
    if nodule.ignored:
        return None
    highest = float(_ball(nodule, image).max())
    if highest < AIR_HU:
        return Issue(
            "error",
            f"the centre lies in air: within {_core_mm(nodule):g} mm no voxel is above "
            f"{highest:.0f} HU; are its coordinates RAS+ mm of this scan?",
        )
    return None


def _core_mm(nodule: Nodule) -> float:
    """Radius within which tissue is expected; bounded, for a mistyped diameter is a large ball."""
    return min(_radius_mm(nodule), CORE_MM)


def _radius_mm(nodule: Nodule) -> float:
    return (nodule.diameter_mm or UNMEASURED_MM) / 2


def _ball(nodule: Nodule, image: Volume) -> NDArray[np.float64]:
    """HU of the voxels within the nodule's radius of its centre."""
    box, ball = ball_voxels(image.shape, image.affine, nodule.centre_mm, _core_mm(nodule))
    return np.asarray(image.data[box][ball], np.float64)


def _doubles(nodules: Sequence[Nodule]) -> Iterator[tuple[str, Issue]]:
    """Centres nearer to each other than the smaller nodule's radius."""
    for first, second in combinations(nodules, 2):
        distance_mm = float(np.linalg.norm(np.subtract(first.centre_mm, second.centre_mm)))
        if distance_mm < min(_radius_mm(first), _radius_mm(second)):
            yield (
                second.name,
                Issue(
                    "error",
                    f"its centre is {distance_mm:.1f} mm from that of nodule {first.name!r}, "
                    f"within both: keep one row a nodule",
                ),
            )


def _mask_issues(nodules: Sequence[Nodule], mask: Volume) -> Iterator[tuple[str, Issue]]:
    """Match centres to the mask's instances, each to the nearest one."""
    instances = [*instance_voxels(mask).values()]
    if nodules and not instances:
        yield nodules[0].name, Issue("error", "is listed as a nodule, but the mask is empty")
        return
    listed = set()
    for nodule in nodules:
        nearest, distance_mm = nearest_instance(nodule, instances, mask)
        if distance_mm > centre_tolerance_mm(nodule, mask):
            yield (
                nodule.name,
                Issue(
                    "error",
                    f"the mask marks nothing at its centre; the nearest marked voxel is "
                    f"{distance_mm:.1f} mm away",
                ),
            )
            continue
        listed.add(nearest)
        yield from _diameter_issue(nodule, instances[nearest], mask)
    for index, voxels in enumerate(instances):
        if index not in listed:
            centre_mm = mask.affine[:3, :3] @ voxels.mean(0) + mask.affine[:3, 3]
            place = ", ".join(f"{value:.1f}" for value in centre_mm)
            yield (
                "",
                Issue("error", f"the mask marks a nodule at ({place}) mm that has no row"),
            )


def instance_voxels(mask: Volume) -> dict[int, NDArray[np.int64]]:
    """Return the voxel indices `(N, 3)` of each nodule of a mask, by its label."""
    labels = nodule_instances(whole_labels(mask.data))
    return {
        label: np.argwhere(labels[box] == label) + [cut.start for cut in box]
        for label, box in enumerate(ndimage.find_objects(labels), start=1)
        if box is not None and label != IGNORE
    }


def nearest_instance(
    nodule: Nodule, instances: Sequence[NDArray[np.int64]], mask: Volume
) -> tuple[int, float]:
    """Return the position of the instance that is nearest to a centre, and its distance in mm."""
    distances_mm = [_distance_mm(nodule, voxels, mask) for voxels in instances]
    nearest = int(np.argmin(distances_mm))
    return nearest, distances_mm[nearest]


def centre_tolerance_mm(nodule: Nodule, mask: Volume) -> float:
    """Return the largest distance of a nodule's centre from its voxels in a mask."""
    return max(_radius_mm(nodule) / 2, 2 * max(mask.spacing_mm))


def _distance_mm(nodule: Nodule, voxels: NDArray[np.int64], mask: Volume) -> float:
    offsets = (voxels - voxel_of(mask.affine, nodule.centre_mm)) @ mask.affine[:3, :3].T
    return float(np.linalg.norm(offsets, axis=1).min())


def _diameter_issue(
    nodule: Nodule, voxels: NDArray[np.int64], mask: Volume
) -> Iterator[tuple[str, Issue]]:
    if nodule.diameter_mm is None:
        return
    voxel_mm3 = abs(float(np.linalg.det(mask.affine[:3, :3])))
    marked_mm = float(ball_diameter_mm(len(voxels), voxel_mm3))
    ratio = nodule.diameter_mm / marked_mm
    if not 1 / DIAMETER_RATIO <= ratio <= DIAMETER_RATIO:
        yield (
            nodule.name,
            Issue(
                "warning",
                f"its diameter is {nodule.diameter_mm:.1f} mm, and that of the mask's volume "
                f"{marked_mm:.1f} mm",
            ),
        )
