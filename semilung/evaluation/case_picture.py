"""Captioned overlay of a case: three whole planes, and a close-up of the largest nodule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.loading.intensity import scale_hu
from semilung.evaluation.overlay import (
    PREDICTION_RGB,
    REFERENCE_RGB,
    drawn_voxels,
    planes_centre,
)
from semilung.evaluation.panels import KeyEntry, draw_panels, panel_row

CLOSE_UP_MM = 60.0
"""Edge of the close-up: twice 30 mm, the largest diameter of a nodule by definition."""

_RIGHT_LUNG = 0.68  # of the way from left to right


def case_picture(
    image_hu: NDArray[Any],
    *,
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing_mm: Sequence[float],
    window_hu: tuple[float, float],
    title: str,
) -> NDArray[np.uint8]:
    """Draw axial, coronal and sagittal plane with outlines, orientation, scale bar and caption.

    The planes are those of `overlay_planes` (radiological convention) through the same centre,
    resampled to isotropic pixels with interpolated grey values. Letters name the sides: R right,
    L left, A anterior, P posterior, S superior, I inferior. If there is an outline, a second row
    shows `CLOSE_UP_MM` around it; otherwise the sagittal plane passes through the right lung rather
    than the spine. The caption gives title, window, and the volumes of reference and prediction in
    the colours of their outlines.

    Args:
        image_hu: `(X, Y, Z)` in HU, axes towards right, anterior, superior (RAS).
        reference: `(X, Y, Z)` 0 background, 1 to 254 lesions; 255 is not drawn.
        prediction: `(X, Y, Z)`, foreground where it is not 0.
        spacing_mm: Voxel size along X, Y, Z.
        window_hu: HU drawn as black and as white.
        title: Name of the case.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        ValueError: Mask and image differ in shape.
    """
    masks = [drawn_voxels(mask, image_hu.shape) for mask in (reference, prediction)]
    centre = planes_centre(masks, image_hu.shape)
    outlined = any(mask.any() for mask in masks)
    if not outlined:
        centre = (round(image_hu.shape[0] * _RIGHT_LUNG), *centre[1:])
    grey = np.asarray(scale_hu(image_hu, window_hu) * 255, np.uint8)
    volumes = [grey, *masks]
    rows = [panel_row(volumes, centre, spacing_mm)]
    extent_mm = np.multiply(image_hu.shape, spacing_mm)
    if outlined and (extent_mm > CLOSE_UP_MM * 1.25).any():
        box, at = close_up_box(image_hu.shape, centre, spacing_mm)
        rows.append(panel_row([volume[box] for volume in volumes], at, spacing_mm))
    voxel_ml = abs(float(np.prod(spacing_mm))) / 1000
    volumes_ml = [np.count_nonzero(mask) * voxel_ml for mask in masks]
    key = [
        KeyEntry(f"{word}: {f'{volume:.2f} ml' if volume else 'none'}", rgb)
        for word, volume, rgb in zip(
            ("reference", "prediction"), volumes_ml, (REFERENCE_RGB, PREDICTION_RGB), strict=True
        )
    ]
    return draw_panels(rows, title=title, window_hu=window_hu, key=key)


def close_up_box(
    shape: Sequence[int], centre: Sequence[int], spacing_mm: Sequence[float]
) -> tuple[tuple[slice, ...], list[int]]:
    """Return the box of `CLOSE_UP_MM` around a voxel, within the volume, and the voxel in it."""
    edges = [
        min(n, max(1, round(CLOSE_UP_MM / mm))) for n, mm in zip(shape, spacing_mm, strict=True)
    ]
    starts = [
        min(max(0, at - edge // 2), n - edge)
        for at, edge, n in zip(centre, edges, shape, strict=True)
    ]
    box = tuple(slice(start, start + edge) for start, edge in zip(starts, edges, strict=True))
    return box, [at - start for at, start in zip(centre, starts, strict=True)]
