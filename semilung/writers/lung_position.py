"""Position of findings: side, and upper, middle or lower third of a lung; and the axial slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from semilung.data import Volume, to_ras
from semilung.data.content.lungs import find_lungs
from semilung.data.io.grid import voxel_of
from semilung.data.io.opened_volume import LPS_TO_RAS
from semilung.inference.findings import COORDINATES

OUTSIDE_MM = 10.0
"""Distance from the lungs, beyond a finding's radius, from which on it is outside of them."""

CENTRAL_MM = 20.0
"""Half the width of the strip around the midline that holds the trachea, which is no lung."""

_BIN_MM = 5.0
_DIP = 0.7  # share of lung at the midline, of the fuller side's; without a dip there is one lung
_SECOND = 0.2  # least ratio of the smaller to the larger lung
_CUT = 0.1  # share of the largest axial section at an end of the scan above which a lung is cut


@dataclass(frozen=True, eq=False)
class _Lungs:
    """Voxel centres `(n, 3)` of both lungs in LPS+ mm, and the midline's x."""

    points_mm: NDArray[np.float64]
    midline_mm: float
    whole: bool  # neither end is cut off by the scan


def finding_positions(findings: pd.DataFrame, volume: Volume) -> list[str]:
    """Return the position of each finding, such as `left lung, upper third`.

    Thirds are of the height of the finding's lung; they are left out where the scan does not show
    the lungs whole. A text is empty where no pair of lungs was found.

    Args:
        findings: With the centres `coordX`, `coordY`, `coordZ` in LPS+ mm, and `diameter_mm`.
        volume: The scan in HU.
    """
    lungs = _lungs(volume)
    if lungs is None or findings.empty:
        return [""] * len(findings)
    tree = cKDTree(lungs.points_mm)
    centres_mm = findings[list(COORDINATES)].to_numpy(np.float64)
    distances_mm, _ = tree.query(centres_mm)
    outside = distances_mm > findings["diameter_mm"].to_numpy() / 2 + OUTSIDE_MM
    return [
        "outside the lungs" if out else _position(centre_mm, lungs)
        for centre_mm, out in zip(centres_mm, outside, strict=True)
    ]


def axial_slices(findings: pd.DataFrame, volume: Volume) -> list[int]:
    """Return the axial slice of the scan's grid nearest to each centre, 1 at the feet.

    Example:
        >>> grid = np.diag([1.0, 1.0, -2.0, 1.0])  # the first slice is the uppermost
        >>> findings = pd.DataFrame({"coordX": [0.0], "coordY": [0.0], "coordZ": [-2.0]})
        >>> axial_slices(findings, Volume(np.zeros((4, 4, 10)), grid))
        [9]
    """
    axis = axial_axis(volume)
    centres_mm = findings[list(COORDINATES)].to_numpy(np.float64) @ LPS_TO_RAS[:3, :3].T
    voxels = [voxel_of(volume.affine, centre_mm.tolist())[axis] for centre_mm in centres_mm]
    last = volume.shape[axis] - 1
    indices = np.clip(np.rint(voxels), 0, last).astype(int)
    upwards = volume.affine[2, axis] > 0
    return [int(index if upwards else last - index) + 1 for index in indices]


def axial_axis(volume: Volume) -> int:
    """Return the axis of the voxels, 0 to 2, that is nearest to the patient's height."""
    return int(np.abs(volume.affine[2, :3] / volume.spacing_mm).argmax())


def _position(centre_mm: NDArray[np.float64], lungs: _Lungs) -> str:
    is_left = centre_mm[0] > lungs.midline_mm  # x runs to the left
    side = f"{'left' if is_left else 'right'} lung"
    if not lungs.whole:
        return side
    off_mm = (lungs.points_mm[:, 0] - lungs.midline_mm) * (1 if is_left else -1)
    heights_mm = lungs.points_mm[off_mm > CENTRAL_MM, 2]
    share = (centre_mm[2] - heights_mm.min()) / max(np.ptp(heights_mm), 1.0)
    return f"{side}, {('lower', 'middle', 'upper')[int(np.clip(share * 3, 0, 2))]} third"


def _lungs(volume: Volume) -> _Lungs | None:
    """Return both lungs of a scan; None where there are not two of them."""
    lungs = find_lungs(to_ras(volume)).lungs
    if lungs is None:
        return None
    voxels = np.argwhere(lungs.data)
    to_lps = LPS_TO_RAS @ lungs.affine
    points_mm = voxels @ to_lps[:3, :3].T + to_lps[:3, 3]
    midline_mm = _midline_mm(points_mm[:, 0])
    if midline_mm is None:
        return None
    off_mm = points_mm[:, 0] - midline_mm
    sides = [int(np.count_nonzero(sign * off_mm > CENTRAL_MM)) for sign in (-1, 1)]
    if min(sides) < _SECOND * max(sides):
        return None
    whole = _is_whole(voxels[np.abs(off_mm) > CENTRAL_MM], lungs.shape[2])
    return _Lungs(points_mm, midline_mm, whole)


def _midline_mm(x_mm: NDArray[np.float64]) -> float | None:
    """Return where between two lungs, in the middle half of their width, there is least lung."""
    bins = max(4, round(float(np.ptp(x_mm)) / _BIN_MM))
    counts, edges = np.histogram(x_mm, bins)
    middle = slice(bins // 4, bins - bins // 4)
    at = middle.start + int(counts[middle].argmin())
    if counts[at] > _DIP * min(counts[:at].max(initial=0), counts[at:].max(initial=0)):
        return None
    return float(edges[at] + edges[at + 1]) / 2


def _is_whole(voxels: NDArray[Any], slices: int) -> bool:
    sections = np.bincount(voxels[:, 2], minlength=slices)
    return bool(max(sections[0], sections[-1]) <= _CUT * sections.max())
