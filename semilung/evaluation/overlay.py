"""Overlay of a case: three planes with the outlines of reference and prediction."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import image as matplotlib_image
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.content.components import connected_components
from semilung.data.loading.intensity import scale_hu
from semilung.files import write_bytes
from semilung.types import IGNORE

LUNG_WINDOW_HU = (-1350.0, 150.0)
"""Level -600 and width 1500 HU, the usual lung window."""

REFERENCE_RGB = (86, 180, 233)
PREDICTION_RGB = (230, 159, 0)
"""Sky blue and orange of the palette of Okabe and Ito (2008), safe for colour-blind readers."""

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
    """Draw axial, coronal and sagittal plane side by side, with outlines.

    Radiological convention: axial planes are viewed from the feet and coronal ones from the front,
    so the patient's right is on the left of the picture; anterior is up in the axial plane,
    superior in the other two; the sagittal plane faces left. Voxels are drawn as squares, so
    anisotropic volumes look distorted. The reference (sky blue) is outlined just outside its border
    and the prediction (orange) just inside, so that both are visible where they agree.

    Args:
        image_hu: `(X, Y, Z)` in HU, axes towards right, anterior, superior (RAS).
        reference: `(X, Y, Z)` 0 background, 1 to 254 lesions; 255 is not drawn.
        prediction: `(X, Y, Z)`, foreground where it is not 0.
        window_hu: HU drawn as black and as white.
        centre: Voxel through which the planes pass; by default the centre of the largest component
            of the reference, else of the prediction, else of the volume.

    Returns:
        `(H, W, 3)` uint8, each voxel enlarged by one integer factor.

    Raises:
        ValueError: Mask and image differ in shape.
    """
    masks = [drawn_voxels(mask, image_hu.shape) for mask in (reference, prediction)]
    at = planes_centre(masks, image_hu.shape) if centre is None else tuple(centre)
    grey = np.asarray(scale_hu(image_hu, window_hu) * 255, np.uint8)
    factor = max(1, _PANEL_PIXELS // max(image_hu.shape))
    sizes = [factor * size for size in image_hu.shape]
    panels = [
        outlined_plane(grey, *masks, axis=axis, at=at[axis], sizes=sizes) for axis in (2, 1, 0)
    ]
    height = max(panel.shape[0] for panel in panels)
    padded = [_pad(panel, height, gap=_GAP_PIXELS if i else 0) for i, panel in enumerate(panels)]
    return np.concatenate(padded, axis=1)


def write_png(path: str | os.PathLike[str], rgb: NDArray[np.uint8]) -> None:
    """Write an `(H, W, 3)` uint8 picture as PNG, atomically."""
    write_bytes(path, png_bytes(rgb))


def png_bytes(rgb: NDArray[np.uint8]) -> bytes:
    """Return an `(H, W, 3)` uint8 picture as the content of a PNG."""
    buffer = io.BytesIO()
    matplotlib_image.imsave(buffer, rgb, format="png")
    return buffer.getvalue()


def drawn_voxels(mask: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return `(X, Y, Z)`: where a mask is foreground and not ignored; all False without a mask.

    Raises:
        ValueError: Mask and image differ in shape.
    """
    if mask is None:
        return np.zeros(shape, bool)
    if mask.shape != shape:
        msg = f"mask and image differ in shape: {mask.shape}, {shape}"
        raise ValueError(msg)
    return np.asarray((mask != 0) & (mask != IGNORE))


def planes_centre(masks: Sequence[NDArray[np.bool_]], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the centre of the largest component of the first non-empty mask, else of `shape`."""
    mask = next((mask for mask in masks if mask.any()), None)
    if mask is None:
        return tuple(size // 2 for size in shape)
    components, _ = connected_components(mask)
    largest = int(np.bincount(components.ravel())[1:].argmax()) + 1
    return tuple(round(c) for c in ndimage.center_of_mass(components == largest))


def outlined_plane(
    grey: NDArray[np.uint8],
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    *,
    axis: int,
    at: int,
    sizes: Sequence[int],
    width: int = 1,
    smooth: bool = False,
) -> NDArray[np.uint8]:
    """Draw a plane perpendicular to an axis as `(H, W, 3)`, with both outlines.

    Args:
        grey: `(X, Y, Z)`.
        reference: `(X, Y, Z)`, outlined outside its border.
        prediction: `(X, Y, Z)`, outlined inside its border.
        axis: 0 sagittal, 1 coronal, 2 axial.
        at: Voxel index along that axis.
        sizes: Pixels along X, Y, Z of the whole volume.
        width: Width of the outlines in pixels.
        smooth: Interpolate grey values linearly; masks always use nearest neighbours.
    """
    pixels = [size for i, size in enumerate(sizes) if i != axis]
    planes = (np.take(volume, at, axis=axis) for volume in (grey, reference, prediction))
    image, outer, inner = (_upright(_enlarged(plane, pixels, smooth=smooth)) for plane in planes)
    rgb: NDArray[np.uint8] = np.repeat(image[..., None], 3, axis=2)
    rgb[ndimage.binary_dilation(outer, iterations=width) & ~outer] = REFERENCE_RGB
    rgb[inner & ~ndimage.binary_erosion(inner, iterations=width)] = PREDICTION_RGB
    return rgb


def _enlarged(plane: NDArray[Any], pixels: Sequence[int], *, smooth: bool) -> NDArray[Any]:
    if smooth and plane.dtype != bool:
        zoom = [size / n for size, n in zip(pixels, plane.shape, strict=True)]
        return np.asarray(ndimage.zoom(plane, zoom, order=1, mode="nearest", grid_mode=True))
    nearest = (np.arange(size) * n // size for size, n in zip(pixels, plane.shape, strict=True))
    return plane[np.ix_(*nearest)]


def _upright(plane: NDArray[Any]) -> NDArray[Any]:
    """Return a plane as rows and columns of a picture.

    `.T` puts the later axis (anterior or superior) on the rows. Both axes are reversed, so that the
    patient's right is on the left, anterior or superior is up, and the sagittal plane faces left.
    """
    return plane.T[::-1, ::-1]


def _pad(panel: NDArray[np.uint8], height: int, *, gap: int) -> NDArray[np.uint8]:
    above = (height - panel.shape[0]) // 2
    return np.pad(panel, ((above, height - panel.shape[0] - above), (gap, 0), (0, 0)))
