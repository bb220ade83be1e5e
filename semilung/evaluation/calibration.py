"""Does a probability mean what it says? Per scan, over all voxels and over those that matter."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.types import IGNORE

BINS = 15
"""Equal-width bins of the foreground probability; the number of Guo et al. (ICML 2017)."""

SUSPICIOUS = 0.05
"""`foreground_ece` looks at voxels of a higher probability than this."""


class Calibration(NamedTuple):
    """Figures of one scan by their column in `cases.csv`; NaN where no voxel is to be judged."""

    ece: float
    foreground_ece: float
    brier: float


def calibration(probability: NDArray[Any], reference: NDArray[Any]) -> Calibration:
    """Expected calibration error and Brier score of a scan's foreground probability.

    With the voxels of bin b, `k/15 <= p < (k+1)/15`, and 1 in the last one,

        ece   = Σ_b |n_b / n| · |mean p in b - share of foreground in b|      (Naeini et al., 2015)
        brier = mean of (p - r)²                                                     (Brier, 1950)

    where r is 1 on lesions. Ignored voxels are left out.

    Of a chest CT 99.9 % is background with p near 0, so `ece` and `brier` are small for every
    network, also for one whose findings are wildly overconfident: read them to compare arms, not as
    "calibrated". `foreground_ece` is the same error over the voxels with p > 0.05 alone: where the
    network suspects something, does it know how sure to be? Voxels are chosen by what was predicted
    and not by the reference: adding missed lesions (p near 0, r = 1) would call even a perfectly
    calibrated network wrong. A silent scan has none to judge: NaN; whether it should have been
    silent, sensitivity says.

    Args:
        probability: `(X, Y, Z)` in [0, 1].
        reference: `(X, Y, Z)` 0 background, 1 to 254 lesions, 255 ignore.

    Returns:
        Each in [0, 1].

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> p, r = np.array([[[0.0, 0.0, 0.9, 0.9]]]), np.array([[[0, 0, 1, 0]]])
        >>> tuple(round(float(figure), 3) for figure in calibration(p, r))
        (0.2, 0.4, 0.205)
    """
    if probability.shape != reference.shape:
        msg = f"probability and reference differ in shape: {probability.shape}, {reference.shape}"
        raise ValueError(msg)
    every, suspicious, squared = np.zeros((3, BINS)), np.zeros((3, BINS)), 0.0
    for plane, labels in zip(probability, reference, strict=True):  # a plane at a time saves memory
        counted = labels != IGNORE
        p, r = plane[counted].astype(float), (labels[counted] != 0).astype(float)
        every += _binned(p, r)
        suspicious += _binned(p[p > SUSPICIOUS], r[p > SUSPICIOUS])
        squared += float(((p - r) ** 2).sum())
    n = float(every[0].sum())
    return Calibration(_error(every), _error(suspicious), squared / n if n else float("nan"))


def _binned(p: NDArray[np.float64], r: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(3, BINS)`: number of voxels, sum of probabilities, number of foreground voxels."""
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    return np.stack([np.bincount(bins, weights, BINS) for weights in (np.ones_like(p), p, r)])


def _error(binned: NDArray[np.float64]) -> float:
    n, expected, found = binned
    return float(np.abs(expected - found).sum() / n.sum()) if n.any() else float("nan")
