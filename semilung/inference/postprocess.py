"""Post-processing: masks from probability maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.content.components import connected_components
from semilung.types import UserError


def to_mask(
    probability: NDArray[Any],
    *,
    threshold: float = 0.5,
    min_volume_mm3: float = 0.0,
    spacing_mm: Sequence[float],
) -> NDArray[np.uint8]:
    """Binarise a probability map and remove small components.

    A voxel is foreground if `probability > threshold`: the constant 0.5 of an undecided network is
    background.

    Args:
        probability: `(X, Y, Z)` in [0, 1].
        threshold: In [0, 1).
        min_volume_mm3: Components with a smaller volume are removed; 0 keeps all.
        spacing_mm: Voxel size along X, Y, Z.

    Returns:
        `(X, Y, Z)` uint8, 0 or 1.

    Raises:
        UserError: The threshold is outside [0, 1) or the volume negative.
    """
    if not 0 <= threshold < 1:
        msg = f"threshold must be in [0, 1), found {threshold}; 0.5 is the usual choice"
        raise UserError(msg)
    if min_volume_mm3 < 0:
        msg = f"min_volume_mm3 must be 0 or more, found {min_volume_mm3}; 0 keeps all components"
        raise UserError(msg)
    mask = np.asarray(probability) > threshold
    if min_volume_mm3 > 0:
        labels, count = connected_components(mask)
        volumes_mm3 = np.bincount(labels.ravel(), minlength=count + 1) * np.prod(spacing_mm)
        keep = volumes_mm3 >= min_volume_mm3
        keep[0] = False
        mask = keep[labels]
    return mask.astype(np.uint8)
