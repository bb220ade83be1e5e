"""Check that voxels are Hounsfield units of a chest, by their histogram."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.data.content.voxel_checks import Issue, finite_issue
from semilung.types import UserError

PLAUSIBLE_HU = (-5000.0, 40000.0)
"""Range of a CT: metal reaches 30000, and below the range there is only constant padding."""

PADDING_HU = -1200
"""A constant lower than this marks voxels outside the field of view (-2000, -3024, -32768)."""

AIR_HU = -600
"""Lung and the air around the body lie between `PADDING_HU` and this."""

DENSE_HU = 600
"""Only cortical bone and metal are denser; they are rare in a chest."""

LOWEST_HU = (-1170, -700)
"""Range of the first percentile of a chest's voxels, padding excluded."""

TISSUE_HU = (-300, 700)
SOFT_HU = (-200, 300)
"""Within the first range fat, muscle and blood (also enhanced) peak in the second."""

NARROW_HU, BYTE_VALUES = 50.0, 256
"""Lung and its vessels span hundreds of HU; narrower ranges are normalised or 8-bit."""

FEW_VOXELS = 10_000
"""A smaller cube may lie between vessels or within one: its histogram proves nothing."""

GAP_HU = 20
"""Noise leaves no gap as wide as this in the values of air."""

DRAWN_VALUES = 16
"""A volume with fewer values is drawn, and its histogram proves nothing."""

SAMPLE_VOXELS = 2_000_000


class _Histogram(NamedTuple):
    """Share of the voxels at each whole HU from `low` on, padding excluded."""

    voxels: int
    low: int
    shares: NDArray[np.float64]

    def share(self, low: float = -math.inf, high: float = math.inf) -> float:
        """Return the share of voxels with `low <= HU < high`."""
        first, last = (int(np.clip(hu - self.low, 0, len(self.shares))) for hu in (low, high))
        return float(self.shares[first:last].sum())

    def percentile(self, share: float) -> int:
        """Return the HU below which a share of the voxels lies."""
        return self.low + int(np.searchsorted(np.cumsum(self.shares), share))

    def peak(self, low: int, high: int) -> int:
        """Return the mode of a range, smoothed over 41 HU, without the often clipped top value."""
        smooth = np.convolve(self.shares[:-1], np.ones(41), mode="same")
        first, last = (int(np.clip(hu - self.low, 0, len(smooth))) for hu in (low, high))
        return self.low + first + int(np.argmax(smooth[first:last]))


def intensity_issue(data: NDArray[Any]) -> Issue | None:
    """Return the reason why voxels are not Hounsfield units of a chest, or None.

    A chest holds lung and usually the air around the body, hardly anything denser than bone, and
    nothing below air. Constant padding is excluded and metal tolerated. Intensities that no chest
    CT has (offset, inverted, windowed, normalised, rescaled) are an error, those of rare ones a
    warning. A shift below about 250 HU may go undetected.

    Args:
        data: `(X, Y, Z)` of any type and orientation; a whole scan or a part of one.

    Example:
        >>> hu = np.linspace(-1000, 300, 1000).reshape(10, 10, 10)
        >>> intensity_issue(hu) is None, intensity_issue(hu + 1024).severity
        (True, 'error')
    """
    if (issue := finite_issue(data)) is not None:
        return issue
    low, high = float(data.min()), float(data.max())
    span = f"values run from {low:g} to {high:g}"
    if low == high:
        return Issue("error", f"{span}: the volume is constant; export the scan again")
    # one value below the plausible range may be padding
    inside = low if low >= PLAUSIBLE_HU[0] else float(data[data > low].min())
    if inside < PLAUSIBLE_HU[0] or high > PLAUSIBLE_HU[1]:
        return Issue(
            "error",
            f"{span}: beyond HU; check the rescale slope and intercept, and signed storage",
        )
    values, counts = np.unique(_sample(data), return_counts=True)
    while len(values) > 1 and _is_padding(values, counts):
        values, counts = values[1:], counts[1:]
    if high - low < NARROW_HU or (low < PADDING_HU and np.ptp(values) < NARROW_HU):
        return Issue("error", f"{span}: normalised, not HU; export the original intensities")
    return _histogram_issue(values, counts, span)


def require_hu(data: NDArray[Any], *, name: str) -> None:
    """Raise UserError for voxels that are not Hounsfield units of a chest; warn of doubtful ones.

    Args:
        data: As in `intensity_issue`.
        name: Name of the scan, for messages.

    Warns:
        UserWarning: The intensities are unusual for a chest CT.

    Raises:
        UserError: No chest CT has such intensities.
    """
    issue = intensity_issue(data)
    if issue is not None and issue.severity == "error":
        raise UserError(f"{name}: {issue.message}")
    if issue is not None:
        warnings.warn(f"{name}: {issue.message}", stacklevel=2)


def _sample(data: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rounded HU of every n-th voxel along each axis."""
    step = max(1, math.ceil((data.size / SAMPLE_VOXELS) ** (1 / 3)))
    sample: NDArray[np.int64] = np.rint(data[::step, ::step, ::step]).astype(np.int64)
    return sample.ravel()


def _is_padding(values: NDArray[np.int64], counts: NDArray[np.int64]) -> bool:
    """Return whether the lowest value is below air, and distinct by a gap or its frequency."""
    apart = values[1] - values[0] > GAP_HU or counts[0] > 0.01 * counts.sum()
    return bool(values[0] < PADDING_HU and apart)


def _histogram_issue(
    values: NDArray[np.int64], counts: NDArray[np.int64], span: str
) -> Issue | None:
    """Return an error or a warning of a histogram without padding."""
    whole = _histogram(values, counts)
    if (below := whole.share(high=PADDING_HU)) > 0.1:
        return Issue(
            "error",
            f"{span}: not HU, {below:.0%} of the voxels are below air ({PADDING_HU}); "
            f"was an intercept subtracted twice, or a slope applied twice?",
        )
    if values[0] < AIR_HU and values[1] - values[0] > GAP_HU:
        return _constant_air_issue(values, counts, span)
    air, dense = whole.share(PADDING_HU, AIR_HU), whole.share(DENSE_HU)
    if air < 0.005 or dense > max(3 * air, 0.1):
        few = whole.voxels < FEW_VOXELS and whole.low < 0
        return Issue(
            "warning" if few else "error",
            f"{span}: not HU, {air:.1%} of the voxels are lung or air (below {AIR_HU}) and "
            f"{dense:.1%} are denser than bone (above {DENSE_HU}); subtract the offset (often "
            f"1024) of unsigned storage, or export the original intensities",
        )
    return _doubt(whole, span)


def _constant_air_issue(
    values: NDArray[np.int64], counts: NDArray[np.int64], span: str
) -> Issue | None:
    """Return the issue of air without noise: drawn, masked out, or padding of non-HU voxels."""
    rest = _histogram(values[1:], counts[1:])
    if len(values) < DRAWN_VALUES:
        return None
    if rest.share(high=AIR_HU) >= 0.005:
        return _doubt(_histogram(values, counts), span)
    if rest.share(DENSE_HU) > 0.3 or rest.shares[0] > 0.05:
        return Issue(
            "error",
            f"{span}: apart from a constant {values[0]}, no voxels are lung or air: they are not "
            f"HU; subtract the offset (often 1024) of unsigned storage, or export the original "
            f"intensities",
        )
    return Issue(
        "warning",
        f"{span}: apart from a constant {values[0]}, no voxels are lung or air; check that they "
        f"are HU and that the scan shows lungs",
    )


def _doubt(whole: _Histogram, span: str) -> Issue | None:
    """Return the warning of a histogram that few chest CTs have."""
    lowest, dense = whole.percentile(0.01), whole.share(DENSE_HU)
    peak = whole.peak(*TISSUE_HU) if whole.share(*TISSUE_HU) > 0.5 else 0
    if len(whole.shares) <= BYTE_VALUES and whole.voxels > FEW_VOXELS:
        doubt = f"they fill no more than {len(whole.shares)} values, as 8 bits do"
    elif not LOWEST_HU[0] < lowest < LOWEST_HU[1]:
        doubt = f"lung or air is expected between -1000 and -750, the lowest are near {lowest}"
    elif dense > 0.2:
        doubt = f"{dense:.0%} of the voxels are denser than bone (above {DENSE_HU})"
    elif not SOFT_HU[0] < peak < SOFT_HU[1]:
        doubt = f"soft tissue is expected between -100 and 100, its commonest value is {peak}"
    else:
        return None
    return Issue("warning", f"{span}: are these HU? {doubt}; compare with the original scan")


def _histogram(values: NDArray[np.int64], counts: NDArray[np.int64]) -> _Histogram:
    shares = np.zeros(int(values[-1] - values[0]) + 1)
    shares[values - values[0]] = counts / counts.sum()
    return _Histogram(int(counts.sum()), int(values[0]), shares)
