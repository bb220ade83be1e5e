"""What a prediction finds where there is nothing to find."""

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
    """Count the predicted components that lie wholly on reference background.

    A component with a single voxel on a lesion or on an ignored voxel is no false positive: how
    well it fits a lesion is for the lesion figures to say, and of an ignored voxel nothing is known
    (LUNA16 treats marks on excluded findings likewise; Setio et al., MedIA 2017).

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
