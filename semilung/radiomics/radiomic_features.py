"""Radiomic features of one nodule, by the Image Biomarker Standardisation Initiative (IBSI)."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.cache.prepared_grid import instances_onto, straightened
from semilung.data.io.grid import Grid, Shape
from semilung.data.io.same_grid import same_grid
from semilung.data.io.volume import Volume, to_ras
from semilung.radiomics.mirp_objects import (
    feature_values,
    ibsi_features,
    mirp_image,
    mirp_mask,
    mirp_settings,
    process,
)
from semilung.radiomics.radiomics_settings import RadiomicsSettings
from semilung.types import UserError

MARGIN = 10
"""Voxels around a nodule that are resampled with it; a cubic spline's weights there are 1e-6."""

LISTED = 3
"""Features that a warning names."""


def radiomic_features(
    image: Volume, mask: Volume, settings: RadiomicsSettings | None = None
) -> dict[str, float]:
    """Return the features of a nodule, by mirp, by IBSI's names without the aggregation.

    Only the nodule and `MARGIN` voxels around it are resampled, on the grid that IBSI asks for: the
    one whose centre is the volume's. Where the volume ends before, its outermost voxels are
    repeated: of a crop without any slice above or below the nodule nothing else is known.

    Args:
        image: `(X, Y, Z)` in HU.
        mask: `(X, Y, Z)` on the image's grid, not 0 in the nodule.
        settings: Resampling, re-segmentation and grey levels; the defaults if None.

    Returns:
        Name to value, with the unit and IBSI code that `feature_table` states; NaN where a feature
        is undefined, such as the texture of a single voxel.

    Raises:
        UserError: mirp is not installed, or image and mask are not on one grid.

    Warns:
        UserWarning: Features are undefined; once for all of them.

    Example:
        >>> ball = np.linalg.norm(np.indices((21, 21, 21)) - 10, axis=0) <= 6
        >>> grid = np.eye(4)
        >>> scan = np.where(ball, np.indices(ball.shape)[0] * 5.0, -800)
        >>> values = radiomic_features(Volume(scan, grid), Volume(ball, grid))
        >>> round(values["morph_sphericity"], 2), values["stat_mean"]
        (0.91, 50.0)
    """
    settings = settings or RadiomicsSettings()
    converted = mirp_settings(settings)
    box, spacing_mm = nodule_box(image, mask), settings.spacing_mm
    if not box.mask.data.any():
        values = {feature.abbr_name: np.nan for feature in ibsi_features(converted)}
        reason = "the mask is empty"
    else:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # one warning for all features
            voxels, outline = mirp_image(box.image), mirp_mask(box.mask)
            shift = np.zeros(3) if spacing_mm is None else box.grid_shift(spacing_mm)
            process(voxels, outline, converted, shift)
            values = dict(feature_values(voxels, outline, converted))
        count = int(outline.roi_intensity.get_voxel_grid().sum())
        reason = f"after resampling and re-segmentation {count} voxels remain"
    undefined = [name for name, value in values.items() if np.isnan(value)]
    if undefined:
        warnings.warn(
            f"{len(undefined)} of {len(values)} radiomic features are undefined, such as "
            f"{', '.join(undefined[:LISTED])}: {reason}",
            stacklevel=2,
        )
    return values


class NoduleBox(NamedTuple):
    """A nodule and its surroundings, with right-angled axes that run to RAS+.

    Attributes:
        image: In HU.
        mask: True in the nodule.
        start: Voxel of the volume that is the box's first; negative where the volume was padded.
        whole: Shape of the volume.
    """

    image: Volume
    mask: Volume
    start: tuple[int, ...]
    whole: Shape

    def grid_shift(self, spacing_mm: float) -> NDArray[np.float64]:
        """Return the shift by which a grid centred on the box coincides with the volume's own.

        Args:
            spacing_mm: Edge of the grid's voxels, which share their centre with the volume.

        Returns:
            In voxels of the grid along x, y and z, in [0, 1).
        """
        step = spacing_mm / np.array(self.image.spacing_mm)
        volume = _first_point(np.array(self.whole), step)
        box = self.start + _first_point(np.array(self.image.shape), step)
        return np.asarray((volume - box) / step % 1)


def _first_point(shape: NDArray[np.int_], step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Voxel index of the first point of a grid that covers a volume and shares its centre."""
    return np.asarray((shape - 1 - (np.ceil(shape / step) - 1) * step) / 2)


def nodule_box(image: Volume, mask: Volume) -> NoduleBox:
    """Cut image and mask to a nodule with a margin; to nothing less if the mask is empty.

    Args:
        image: In HU.
        mask: On the image's grid.

    Raises:
        UserError: The grids differ.
    """
    if not same_grid(image, mask):
        raise UserError(
            f"image {image.shape} and mask {mask.shape} are not on one grid; resample the mask "
            f"onto the image"
        )
    image, mask = _level(to_ras(image), to_ras(Volume(mask.data != 0, mask.affine)))
    boxes = ndimage.find_objects(mask.data.view(np.uint8))
    if not boxes:
        return NoduleBox(image, mask, (0, 0, 0), image.shape)
    low = [cut.start - MARGIN for cut in boxes[0]]
    high = [cut.stop + MARGIN for cut in boxes[0]]
    spans = list(zip(low, high, image.shape, strict=True))
    inside = tuple(slice(max(a, 0), min(b, n)) for a, b, n in spans)
    beyond = [(max(-a, 0), max(b - n, 0)) for a, b, n in spans]
    affine = image.affine.copy()
    affine[:3, 3] = (affine @ [*low, 1.0])[:3]
    return NoduleBox(
        Volume(np.pad(image.data[inside], beyond, mode="edge"), affine),
        Volume(np.pad(mask.data[inside], beyond), affine),
        tuple(low),
        image.shape,
    )


def _level(image: Volume, mask: Volume) -> tuple[Volume, Volume]:
    """Return image and mask with right-angled axes: resampled if the gantry was tilted."""
    level = straightened(image, fill=float(image.data.min()))
    if level is image:
        return image, mask
    labels = Volume(mask.data.astype(np.uint8), mask.affine)
    return level, Volume(instances_onto(labels, Grid(level.shape, level.affine)) != 0, level.affine)
