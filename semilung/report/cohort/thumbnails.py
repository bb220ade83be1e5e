"""Thumbnail of a scan: an axial and a coronal plane in a lung window, nodules outlined."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import image as matplotlib_image
from numpy.typing import NDArray

from semilung.data.loading.intensity import scale_hu
from semilung.evaluation.overlay import outlined_plane

PANEL_PIXELS = 176
GAP_PIXELS = 4


def thumbnail(
    hu: NDArray[Any],
    nodules: NDArray[np.bool_],
    *,
    spacing_mm: Sequence[float],
    centre: Sequence[int],
    window_hu: tuple[float, float],
) -> bytes:
    """Draw a JPEG of two square panels, in radiological convention: the patient's right is left.

    Args:
        hu: `(X, Y, Z)` in RAS.
        nodules: `(X, Y, Z)`, outlined where True.
        spacing_mm: Along X, Y, Z.
        centre: Voxel through which both planes pass.
        window_hu: Drawn as black and as white.
    """
    per_mm = PANEL_PIXELS / max(np.multiply(hu.shape, spacing_mm))
    sizes = [max(1, round(n * mm * per_mm)) for n, mm in zip(hu.shape, spacing_mm, strict=True)]
    panels = []
    for axis in (2, 1):
        plane = tuple(
            slice(centre[i], centre[i] + 1) if i == axis else slice(None) for i in range(3)
        )
        grey = np.asarray(scale_hu(hu[plane].astype(np.float32), window_hu) * 255, np.uint8)
        outline = nodules[plane]
        panels.append(
            outlined_plane(
                grey, outline, np.zeros_like(outline), axis=axis, at=0, sizes=sizes, smooth=True
            )
        )
    picture = np.zeros((PANEL_PIXELS, 2 * PANEL_PIXELS + GAP_PIXELS, 3), np.uint8)
    for column, panel in enumerate(panels):
        height, width = panel.shape[:2]
        top, left = (PANEL_PIXELS - height) // 2, (PANEL_PIXELS - width) // 2
        left += column * (PANEL_PIXELS + GAP_PIXELS)
        picture[top : top + height, left : left + width] = panel
    buffer = io.BytesIO()
    matplotlib_image.imsave(buffer, picture, format="jpeg", pil_kwargs={"quality": 82})
    return buffer.getvalue()


def drawable(data: NDArray[Any]) -> NDArray[Any]:
    """Return voxels of any type as finite, real numbers, for a picture of what is not HU."""
    if not np.issubdtype(data.dtype, np.number):  # the colours of an RGB volume
        return np.zeros(data.shape, np.float32)
    real = np.asarray(data.real, np.float64)
    return np.nan_to_num(np.clip(real, -1e9, 1e9), copy=False)


def contrast_window(values: NDArray[Any]) -> tuple[float, float]:
    """Return a window for finite voxels that are not HU: most of their values.

    Example:
        >>> contrast_window(np.arange(1001.0).reshape(7, 11, 13))
        (20.0, 980.0)
    """
    step = max(1, round((values.size / 200_000) ** (1 / 3)))
    low, high = np.percentile(values[::step, ::step, ::step], (2, 98))
    return float(low), float(high if high > low else low + max(1.0, abs(low) / 1e3))
