"""Nodules of a mask: its labels, or the components of a mask that has one label for all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.content.components import connected_components
from semilung.data.content.voxel_checks import label_issue, whole_labels
from semilung.data.io.grid import Grid
from semilung.data.io.resample import resample_onto
from semilung.data.io.volume import Volume, labels_fit, read_volume
from semilung.types import IGNORE, UserError

MOST = IGNORE - 1
"""Largest label of a nodule."""


def nodule_instances(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give every nodule a label of its own; the only place that decides what a nodule is.

    Several labels are the nodules. One label is that of a binary mask, in which each 26-connected
    component is a nodule; they are numbered from the largest on. Components beyond 254, all of
    them small, share the last label.

    Args:
        mask: `(X, Y, Z)`, 0 background, 1 to 254 nodules, 255 ignore.

    Returns:
        A mask of the same foreground and ignored voxels, the given one if it does not change.

    Example:
        >>> nodule_instances(np.array([[[1, 0, 0, 1, 1, 255]]], np.uint8)).tolist()
        [[[2, 0, 0, 1, 1, 255]]]
    """
    nodule = (mask > 0) & (mask != IGNORE)
    boxes = ndimage.find_objects(nodule.view(np.uint8))
    if not boxes or np.ptp(mask[nodule]):
        return mask
    components, count = connected_components(nodule[boxes[0]])
    if count == 1:
        return mask
    sizes = np.bincount(components.ravel())[1:]
    labels = np.zeros(count + 1, np.uint8)
    labels[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, count + 1).clip(max=MOST)
    instances = mask.copy()
    instances[boxes[0]] = np.where(components > 0, labels[components], mask[boxes[0]])
    return instances


def read_labels(path: Path, image: Grid | Volume) -> Volume:
    """Read a mask of labels 0 to 255, and return it on the image's grid, of which it may be a part.

    Raises:
        UserError: The mask cannot be read, is no map of labels, or not on the image's grid.
    """
    mask = read_volume(path)
    if (issue := label_issue(mask.data)) is not None:
        raise UserError(f"{path}: {issue.message}")
    if not labels_fit(path, mask, image):
        raise UserError(
            f"{path}: shape {mask.shape} or affine is not the image's ({image.shape}); resample it "
            f"onto the image"
        )
    labels = Volume(whole_labels(mask.data), mask.affine)
    if labels.shape == image.shape:
        return labels
    # a segmentation that 3D Slicer has cropped
    return resample_onto(labels, image.shape, image.affine, order=0, fill=0)


def read_instances(path: Path, image: Grid | Volume) -> Volume:
    """Read a mask, and return the label of each nodule (`nodule_instances`) on the image's grid.

    Raises:
        UserError: As `read_labels`.
    """
    labels = read_labels(path, image)
    return Volume(nodule_instances(labels.data), labels.affine)


def instance_centres(instances: NDArray[np.uint8]) -> dict[int, tuple[float, float, float]]:
    """Return the centre of mass of each nodule in voxels, by label.

    Args:
        instances: From `nodule_instances`.

    Example:
        >>> instance_centres(np.array([[[2, 0, 0, 1, 1, 255]]], np.uint8))
        {1: (0.0, 0.0, 3.5), 2: (0.0, 0.0, 0.0)}
    """
    centres: dict[int, tuple[float, float, float]] = {}
    for label, box in enumerate(ndimage.find_objects(instances, MOST), start=1):
        if box is not None:
            within = ndimage.center_of_mass(instances[box] == label)
            x, y, z = (float(c) + cut.start for c, cut in zip(within, box, strict=True))
            centres[label] = (x, y, z)
    return centres


def instance_numbers(names: Sequence[str]) -> Sequence[int]:
    """Return the nodules' names where all are distinct numbers, as those of a mask's instances.

    Example:
        >>> list(instance_numbers(["2", "5"])), list(instance_numbers(["left", "2"]))
        ([2, 5], [1, 2])
    """
    numbers = [int(name) for name in names if name.isdecimal()]
    distinct = len(set(numbers)) == len(names)
    return numbers if distinct else range(1, len(names) + 1)
