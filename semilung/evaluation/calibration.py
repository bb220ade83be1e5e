"""Calibration of foreground probabilities: expected calibration error and Brier score per scan."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.types import IGNORE

BINS = 15
"""Equal-width bins of the foreground probability; the number of Guo et al. (ICML 2017)."""

SUSPICIOUS = 0.05
"""`foreground_ece` is computed over voxels of a higher probability than this."""


class Calibration(NamedTuple):
    """Calibration metrics of one scan, by their column in `cases.csv`; NaN if over no voxels."""

    ece: float
    foreground_ece: float
    brier: float


def calibration(probability: NDArray[Any], reference: NDArray[Any]) -> Calibration:
    """Return expected calibration error and Brier score of a scan's foreground probability.

    Over bins b of voxels, `k/15 <= p < (k+1)/15`, the last one including 1,

        ece   = Σ_b |n_b / n| · |mean p in b - share of foreground in b|      (Naeini et al., 2015)
        brier = mean of (p - r)²                                                     (Brier, 1950)

    where r is 1 on lesions. Ignored voxels are excluded.

    About 99.9 % of a chest CT is background with p near 0, so `ece` and `brier` are small for every
    network, even one with overconfident findings: use them to compare arms, not as absolute
    measures. `foreground_ece` is the same error over voxels with p > 0.05 only. These are selected
    by prediction and not by reference, because including missed lesions (p near 0, r = 1) would
    penalise even a perfectly calibrated network. It is NaN for a scan without such voxels; missed
    lesions are covered by sensitivity.

    Args:
        probability: `(X, Y, Z)` in [0, 1].
        reference: `(X, Y, Z)` 0 background, 1 to 254 lesions, 255 ignore.

    Returns:
        Each in [0, 1].

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> p, r = np.array([[[0.0, 0.0, 0.9, 0.9]]]), np.array([[[0, 0, 1, 0]]])
        >>> tuple(round(float(value), 3) for value in calibration(p, r))
        (0.2, 0.4, 0.205)
    """
    if probability.shape != reference.shape:
        msg = f"probability and reference differ in shape: {probability.shape}, {reference.shape}"
        raise ValueError(msg)
    total, suspicious, squared = np.zeros((3, BINS)), np.zeros((3, BINS)), 0.0
    for plane, labels in zip(probability, reference, strict=True):  # plane by plane, for memory
        counted = labels != IGNORE
        p, r = plane[counted].astype(float), (labels[counted] != 0).astype(float)
        total += _binned(p, r)
        suspicious += _binned(p[p > SUSPICIOUS], r[p > SUSPICIOUS])
        squared += float(((p - r) ** 2).sum())
    n = float(total[0].sum())
    return Calibration(_error(total), _error(suspicious), squared / n if n else float("nan"))


def _binned(p: NDArray[np.float64], r: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `(3, BINS)`: number of voxels, sum of probabilities, number of foreground voxels."""
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    return np.stack([np.bincount(bins, weights, BINS) for weights in (np.ones_like(p), p, r)])


def _error(binned: NDArray[np.float64]) -> float:
    n, expected, observed = binned
    return float(np.abs(expected - observed).sum() / n.sum()) if n.any() else float("nan")
