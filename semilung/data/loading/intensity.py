"""Intensity windowing: Hounsfield units to the [0, 1] of network inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def scale_hu(hu: NDArray[Any], window_hu: tuple[float, float]) -> NDArray[np.float32]:
    """Clip to a window and scale it linearly: `(clip(hu, low, high) - low) / (high - low)`.

    Args:
        hu: Any shape, any real type.
        window_hu: `(low, high)`.

    Returns:
        float32 of the same shape, in [0, 1].

    Example:
        >>> scale_hu(np.array([-2000, -1000, -300, 400]), (-1000, 400)).tolist()
        [0.0, 0.0, 0.5, 1.0]
    """
    low, high = window_hu
    if not low < high:
        raise ValueError(f"window_hu must run low to high, not {window_hu}")
    scaled: NDArray[np.float32] = np.clip(hu, low, high, dtype=np.float32)
    scaled -= np.float32(low)
    scaled /= np.float32(high - low)
    return scaled
