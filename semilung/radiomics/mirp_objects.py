"""Adapter of mirp, the only module that imports it: its images, masks, settings and features.

mirp's public functions take files, whose voxel size arrays lack, and print to standard output;
so its classes are used directly. As they are not part of its public interface, tests compare the
results with IBSI's reference values.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.volume import Volume
from semilung.radiomics.radiomics_settings import (
    AGGREGATIONS,
    INTERPOLATIONS,
    RadiomicsSettings,
)
from semilung.types import UserError

FAMILIES = {
    "morph": "morphological",
    "stat": "statistics",
    "ih": "intensity_histogram",
    "cm": "glcm",
    "rlm": "glrlm",
    "szm": "glszm",
    "dzm": "gldzm",
    "ngt": "ngtdm",
    "ngl": "ngldm",
}
"""First part of a feature's name to its family."""

LEFT_OUT = ("morph_moran_i", "morph_geary_c")
"""Compare all pairs of voxels: seconds a nodule, and from 1000 voxels on mirp only samples them."""


def require_mirp() -> str:
    """Return the version of mirp.

    Raises:
        UserError: It is not installed.
    """
    if find_spec("mirp") is None:
        raise UserError(
            "radiomic features need the package mirp, which is not installed: "
            "pip install 'semilung[radiomics]'"
        )
    return version("mirp")


def mirp_settings(settings: RadiomicsSettings) -> Any:
    """Return mirp's settings."""
    require_mirp()
    from mirp.settings.generic import SettingsClass

    directed, other = settings.aggregation, AGGREGATIONS[settings.aggregation]
    sigma, limits = settings.outlier_sigma, settings.range_hu
    return SettingsClass(
        by_slice=directed.startswith("2"),
        new_spacing=settings.spacing_mm,
        spline_order=INTERPOLATIONS[settings.interpolation],
        anti_aliasing=False,
        resegmentation_intensity_range=None if limits is None else [float(hu) for hu in limits],
        resegmentation_sigma=None if sigma is None else float(sigma),
        base_feature_families=[*FAMILIES.values()],
        base_discretisation_method="fixed_bin_number" if settings.bins else "fixed_bin_size",
        base_discretisation_n_bins=settings.bins,
        base_discretisation_bin_width=float(settings.bin_width_hu),
        glcm_spatial_method=directed,
        glrlm_spatial_method=directed,
        glszm_spatial_method=other,
        gldzm_spatial_method=other,
        ngtdm_spatial_method=other,
        ngldm_spatial_method=other,
    )


def mirp_image(image: Volume) -> Any:
    """Return a CT in HU as mirp's image, whose axes are z, y, x."""
    from mirp._images.ct_image import CTImage

    return CTImage(
        image_data=image.data.T.astype(np.float64), image_modality="ct", **_geometry(image)
    )


def mirp_mask(mask: Volume) -> Any:
    """Return a mask as mirp's."""
    from mirp._masks.base_mask import BaseMask

    return BaseMask(roi_name="nodule", image_data=mask.data.T != 0, **_geometry(mask))


def process(image: Any, mask: Any, settings: Any, shift: NDArray[np.float64]) -> None:
    """Resample image and mask and re-segment the mask, in place, in the order of IBSI.

    Args:
        image: From `mirp_image`.
        mask: From `mirp_mask`.
        settings: From `mirp_settings`.
        shift: Of the grid along x, y and z in its voxels, in [0, 1).
    """
    image.update_separate_slices(settings.general.by_slice)
    mask.update_separate_slices(settings.general.by_slice)
    spacings = settings.img_interpolate.new_spacing or [None]
    image.interpolate(
        new_spacing=spacings[0], translation=tuple(shift[::-1].tolist()), settings=settings
    )
    mask.register(
        image=image,
        spline_order=settings.roi_interpolate.spline_order,
        anti_aliasing=False,
        anti_aliasing_smoothing_beta=settings.img_interpolate.smoothing_beta,
    )
    mask.resegmentise_mask(
        image=image,
        resegmentation_method=settings.roi_resegment.resegmentation_method,
        intensity_range=settings.roi_resegment.intensity_range,
        sigma=settings.roi_resegment.sigma,
    )


def ibsi_features(settings: Any) -> list[Any]:
    """Return mirp's features that IBSI defines, in mirp's order: name, IBSI code and formula."""
    from mirp._features.feature_generator import generate_features

    features = list(generate_features(settings.feature_extr))
    for feature in features:
        feature.update_ibsi_compliance()
    return [f for f in features if f.ibsi_compliant and f.abbr_name not in LEFT_OUT]


def feature_values(image: Any, mask: Any, settings: Any) -> Iterator[tuple[str, float]]:
    """Yield name and value of each feature of a processed image and mask; NaN if undefined."""
    features = ibsi_features(settings)
    former = None
    for feature in features:
        feature.compute(image=image, mask=mask)
        if former is not None:
            former.clear_local_cache(other=feature)
        former = feature
        value = np.nan if feature.value is None else float(feature.value)
        yield feature.abbr_name, value if np.isfinite(value) else np.nan
    for feature in features:
        feature.clear_cache()


def _geometry(volume: Volume) -> dict[str, Any]:
    return {
        "image_spacing": volume.spacing_mm[::-1],
        "image_origin": (0.0, 0.0, 0.0),
        "image_orientation": np.eye(3),
        "image_dimensions": volume.shape[::-1],
        "sample_name": "nodule",
    }
