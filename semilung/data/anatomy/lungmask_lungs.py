"""Lung segmentation by the network of the package lungmask."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.resample import resample_onto
from semilung.data.io.volume import Volume, to_ras
from semilung.types import UserError


def lungmask_lungs() -> Callable[[Volume], NDArray[np.bool_]]:
    """Return a function that segments the lungs; lungmask downloads its weights on first use.

    Raises:
        UserError: The package is not installed.
    """
    if find_spec("lungmask") is None:
        raise UserError("lungmask is not installed; install it: pip install 'semilung[lungs]'")
    from lungmask import LMInferer

    return partial(_lungs, LMInferer())


def _lungs(inferer: Any, volume: Volume) -> NDArray[np.bool_]:
    """Segment both lungs, on the volume's grid."""
    ras = to_ras(volume)
    # lungmask takes slices first, then rows from front to back, then columns from right to left.
    labels = inferer.apply(np.ascontiguousarray(ras.data[::-1, ::-1].T))
    mask = (labels.T[::-1, ::-1] > 0).astype(np.uint8)
    back = resample_onto(Volume(mask, ras.affine), volume.shape, volume.affine, order=0, fill=0)
    lungs: NDArray[np.bool_] = back.data.astype(bool)
    return lungs
