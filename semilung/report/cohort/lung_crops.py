"""Small crops of a scan's lung without nodules, as stored, for the probe of scanners."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.training.audits.nodule_free import EDGE, MOST_CROPS, SMALLEST_EDGE
from semilung.training.audits.probe import FEATURES, is_lung, scanner_features

TRIES = 60
"""Windows drawn of a scan; lung is a fifth of a chest's box."""


def crop_features(
    hu: NDArray[Any], nodules: NDArray[np.bool_] | None, *, name: str
) -> NDArray[np.float64]:
    """Return `scanner_features` of up to three crops, `(C, F)`; C is 0 where there is no lung.

    Args:
        hu: `(X, Y, Z)` in RAS, as stored: spacing is a property of the scanner.
        nodules: `(X, Y, Z)`, True in nodules; None where there is no mask.
        name: Of the case; decides the crops.
    """
    edges = np.minimum(EDGE, hu.shape)
    rows: list[NDArray[np.float64]] = []
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if edges.min() < SMALLEST_EDGE:
        return np.empty((0, len(FEATURES)))
    for _ in range(TRIES):
        start = rng.integers(0, np.array(hu.shape) - edges, endpoint=True)
        box = tuple(slice(int(a), int(a + n)) for a, n in zip(start, edges, strict=True))
        if is_lung(hu[box]) and (nodules is None or not nodules[box].any()):
            rows.append(scanner_features(hu[box]))
        if len(rows) == MOST_CROPS:
            break
    return np.array(rows).reshape(-1, len(FEATURES))
