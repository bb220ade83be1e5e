"""Connected components of masks; the only place that decides which voxels are neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_NEIGHBOURS_26 = np.ones((3, 3, 3), dtype=bool)


def connected_components(mask: NDArray[Any]) -> tuple[NDArray[np.int32], int]:
    """Label the 26-connected components of a mask.

    Args:
        mask: `(X, Y, Z)`, foreground where not 0.

    Returns:
        `(X, Y, Z)` int32 with 0 for background and 1..n for the components, and n.

    Example:
        >>> mask = np.zeros((4, 4, 4)); mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = 1
        >>> connected_components(mask)[1]
        2
    """
    labels, count = ndimage.label(np.asarray(mask) != 0, structure=_NEIGHBOURS_26)
    return np.asarray(labels, dtype=np.int32), int(count)
