"""Settings of radiomic features, all of which IBSI asks to be reported."""

from __future__ import annotations

from dataclasses import dataclass

from semilung.bounds import require_bounds
from semilung.suggestions import require_choice
from semilung.types import UserError

INTERPOLATIONS = {"linear": 1, "cubic": 3}
"""Interpolation of the image to the order of its spline."""

AGGREGATIONS = {
    "2d_average": "2d",
    "2d_slice_merge": "2d",
    "2.5d_direction_merge": "2.5d",
    "2.5d_volume_merge": "2.5d",
    "3d_average": "3d",
    "3d_volume_merge": "3d",
}
"""Aggregation of matrices that have a direction (GLCM, GLRLM), to that of the others."""


@dataclass(frozen=True)
class RadiomicsSettings:
    """Processing of image and mask before features are computed.

    Attributes:
        spacing_mm: Edge of the isotropic voxels to which image and mask are resampled; None keeps
            the scan's. Slices are kept by a 2D aggregation, which resamples within them.
        interpolation: Of the image, `linear` or `cubic`; the mask's is linear, thresholded at 0.5.
        range_hu: Re-segmentation: voxels of the mask outside of it are left out of all families
            but morphology. Its lower end is the lower edge of the first bin. None keeps all voxels.
        outlier_sigma: Re-segmentation: voxels further than this many standard deviations from the
            mean of the mask are left out likewise; None keeps them.
        bin_width_hu: Width of a grey level in HU (fixed bin size).
        bins: Number of grey levels between a nodule's lowest and highest HU (fixed bin number),
            instead of bins of `bin_width_hu`.
        aggregation: Of texture matrices: 2d_average, 2d_slice_merge, 2.5d_direction_merge,
            2.5d_volume_merge, 3d_average or 3d_volume_merge (all directions in one matrix).

    Raises:
        UserError: A value is out of its range.
    """

    spacing_mm: float | None = 1.0
    interpolation: str = "linear"
    range_hu: tuple[float, float] | None = (-1000.0, 400.0)
    outlier_sigma: float | None = None
    bin_width_hu: float = 25.0
    bins: int | None = None
    aggregation: str = "3d_volume_merge"

    def __post_init__(self) -> None:
        require_bounds(self, "radiomics")
        require_choice("radiomics.interpolation", self.interpolation, [*INTERPOLATIONS])
        require_choice("radiomics.aggregation", self.aggregation, [*AGGREGATIONS])
        if self.range_hu is not None and self.range_hu[0] >= self.range_hu[1]:
            raise UserError(
                f"radiomics.range_hu={list(self.range_hu)} must ascend; give [low, high] in HU"
            )
        if self.range_hu is None and self.bins is None:
            raise UserError(
                "radiomics.range_hu=null leaves bins of a fixed width without their first edge; "
                "give a range in HU, or a fixed number of bins, such as radiomics.bins=32"
            )
