"""False-positive components and their volume, on healthy scans and next to lesions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.evaluation.component_overlap import component_overlap


class FalsePositives(NamedTuple):
    """Number of false-positive components of a scan, and their volume in mm3."""

    components: int
    volume_mm3: float


def false_positives(
    prediction: NDArray[Any],
    spacing_mm: Sequence[float],
    reference: NDArray[Any] | None = None,
) -> FalsePositives:
    """Count the predicted components that lie entirely on reference background.

    A component with any voxel on a lesion or an ignored voxel is not a false positive: its overlap
    with a lesion is measured by the lesion metrics, and the class of an ignored voxel is unknown
    (as for marks on excluded findings in LUNA16; Setio et al., MedIA 2017).

    Args:
        prediction: `(X, Y, Z)`, foreground where it is not 0.
        spacing_mm: Voxel size along X, Y, Z.
        reference: `(X, Y, Z)` 0 background, 1 to 254 lesions, 255 ignore; None for a healthy scan,
            where every component counts.

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> false_positives(np.array([[[1, 1, 0, 1]]]), (1, 1, 2))
        FalsePositives(components=2, volume_mm3=6.0)
    """
    if reference is None:
        reference = np.zeros(prediction.shape, np.uint8)
    table = component_overlap(prediction, reference).table
    false = (table[1:, 1:] == 0).all(axis=0)
    voxels = int(table[0, 1:][false].sum())
    return FalsePositives(int(false.sum()), voxels * float(np.prod(spacing_mm)))
