"""A picture of a case: three planes with the outlines of reference and prediction."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import image as matplotlib_image
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.intensity import scale_hu
from semilung.files import write_bytes
from semilung.inference.postprocess import connected_components
from semilung.types import IGNORE

REFERENCE_RGB = (86, 180, 233)
PREDICTION_RGB = (230, 159, 0)
"""Sky blue and orange of Okabe and Ito's palette (2008), which colour-blind readers tell apart."""

_PANEL_PIXELS = 320
_GAP_PIXELS = 4


def overlay_planes(
    image_hu: NDArray[Any],
    *,
    reference: NDArray[Any] | None = None,
    prediction: NDArray[Any] | None = None,
    window_hu: tuple[float, float],
    centre: Sequence[int] | None = None,
) -> NDArray[np.uint8]:
    """Axial, coronal and sagittal plane side by side, with outlines.

    Radiological convention: axial and coronal planes are seen from the feet and from the front, so
    the patient's right is on the picture's left; the front is up in the axial plane; the head
    is up in the other two; the sagittal plane faces left. A voxel is drawn as a square, so a
    coarse axis looks short. The reference (sky blue) is outlined just outside its rim and the
    prediction (orange) just inside, so both show where they agree.

    Args:
        image_hu: `(X, Y, Z)` in HU, axes towards right, anterior, superior (RAS).
        reference: `(X, Y, Z)` 0 background, 1 to 254 lesions; 255 is not drawn.
        prediction: `(X, Y, Z)`, foreground where it is not 0.
        window_hu: HU drawn as black and as white.
        centre: Voxel that the planes run through; by default the centre of the largest component
            of the reference, else of the prediction, else of the volume.

    Returns:
        `(H, W, 3)` uint8, each voxel enlarged by one integer factor.

    Raises:
        ValueError: A mask differs from the image in shape.
    """
    outer, inner = _drawn(reference, image_hu.shape), _drawn(prediction, image_hu.shape)
    at = _centre((outer, inner), image_hu.shape) if centre is None else tuple(centre)
    grey = np.asarray(scale_hu(image_hu, window_hu) * 255, np.uint8)
    factor = max(1, _PANEL_PIXELS // max(image_hu.shape))
    panels = [
        _panel(*(_plane(volume, axis, at, factor) for volume in (grey, outer, inner)))
        for axis in (2, 1, 0)
    ]
    height = max(panel.shape[0] for panel in panels)
    padded = [_pad(panel, height, gap=_GAP_PIXELS if i else 0) for i, panel in enumerate(panels)]
    return np.concatenate(padded, axis=1)


def write_png(path: str | os.PathLike[str], rgb: NDArray[np.uint8]) -> None:
    """Write an `(H, W, 3)` uint8 picture as PNG, atomically."""
    buffer = io.BytesIO()
    matplotlib_image.imsave(buffer, rgb, format="png")
    write_bytes(path, buffer.getvalue())


def _drawn(mask: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if mask is None:
        return np.zeros(shape, bool)
    if mask.shape != shape:
        msg = f"mask and image differ in shape: {mask.shape}, {shape}"
        raise ValueError(msg)
    drawn: NDArray[np.bool_] = (mask != 0) & (mask != IGNORE)
    return drawn


def _centre(masks: Sequence[NDArray[np.bool_]], shape: tuple[int, ...]) -> tuple[int, ...]:
    mask = next((mask for mask in masks if mask.any()), None)
    if mask is None:
        return tuple(size // 2 for size in shape)
    components, _ = connected_components(mask)
    largest = int(np.bincount(components.ravel())[1:].argmax()) + 1
    return tuple(round(c) for c in ndimage.center_of_mass(components == largest))


def _plane(volume: NDArray[Any], axis: int, at: Sequence[int], factor: int) -> NDArray[Any]:
    """A plane across `axis` as rows and columns of a picture, enlarged.

    `.T` puts the later axis (anterior or superior) on the rows; both run from their high end, so
    right is left, front or head is up, and the sagittal plane's front is left.
    """
    plane: NDArray[Any] = np.take(volume, at[axis], axis=axis).T[::-1, ::-1]
    return plane.repeat(factor, axis=0).repeat(factor, axis=1)


def _panel(
    grey: NDArray[np.uint8], reference: NDArray[np.bool_], prediction: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    rgb = np.repeat(grey[..., None], 3, axis=2)
    rgb[ndimage.binary_dilation(reference) & ~reference] = REFERENCE_RGB
    rgb[prediction & ~ndimage.binary_erosion(prediction)] = PREDICTION_RGB
    return rgb


def _pad(panel: NDArray[np.uint8], height: int, *, gap: int) -> NDArray[np.uint8]:
    above = (height - panel.shape[0]) // 2
    return np.pad(panel, ((above, height - panel.shape[0] - above), (gap, 0), (0, 0)))
