"""Masks of findings: the consensus, and each reader's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semilung.data.importers.lidc.reader_consensus import Finding
from semilung.data.io.grid import Shape
from semilung.types import IGNORE


def consensus_mask(findings: Sequence[Finding], shape: Shape) -> NDArray[np.uint8]:
    """Return the number of each nodule, from 1, in its consensus, and 255 in disputed voxels."""
    mask = np.zeros(shape, np.uint8)
    for number, finding in enumerate(findings, start=1):
        mask.reshape(-1)[finding.agreed] = number
        mask.reshape(-1)[finding.disputed] = IGNORE
    return mask


def reader_mask(findings: Sequence[Finding], reader: int, shape: Shape) -> NDArray[np.uint8]:
    """Return the number of each finding, from 1, in the voxels that one reader has inside.

    Where a reader outlined several findings as one, the consensus divides them, and the rest has
    the lowest of their numbers.
    """
    mask = np.zeros(shape, np.uint8)
    flat = mask.reshape(-1)
    for number, finding in enumerate(findings, start=1):
        for one in finding.readings:
            if one.reading.reader == reader:
                is_free = (flat[one.voxels] == 0) | np.isin(one.voxels, finding.agreed)
                flat[one.voxels[is_free]] = number
    return mask
