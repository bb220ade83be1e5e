"""Cross-tabulation of predicted components and reference labels, the basis of lesion metrics."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.data.content.components import connected_components


class Overlap(NamedTuple):
    """Voxel counts of reference labels (rows) against predicted components (columns).

    `labels` `(L,)` are the reference values in ascending order, 0 always first; `table`
    `(L, 1 + n)` counts their voxels in the background of the prediction (column 0) and in its n
    components.
    """

    labels: NDArray[np.int64]
    table: NDArray[np.int64]


def component_overlap(prediction: NDArray[Any], reference: NDArray[Any]) -> Overlap:
    """Cross-tabulate the 26-connected components of a prediction and the reference's labels.

    Args:
        prediction: `(X, Y, Z)`, foreground where it is not 0.
        reference: `(X, Y, Z)` 0 background, 1 to 254 lesions, 255 ignore.

    Raises:
        ValueError: The shapes differ, or a label is outside [0, 255].

    Example:
        >>> prediction, reference = np.array([[[1, 1, 0, 1]]]), np.array([[[0, 7, 7, 0]]])
        >>> component_overlap(prediction, reference).table.tolist()
        [[0, 1, 1], [1, 1, 0]]
    """
    if prediction.shape != reference.shape:
        msg = f"prediction and reference differ in shape: {prediction.shape}, {reference.shape}"
        raise ValueError(msg)
    if reference.size and not 0 <= reference.min() <= reference.max() <= 255:
        msg = f"reference labels lie in [0, 255], got {reference.min()} to {reference.max()}"
        raise ValueError(msg)
    components, count = connected_components(prediction)
    present = np.bincount(reference.ravel().astype(np.uint8), minlength=256) > 0
    present[0] = True
    labels = np.flatnonzero(present)
    row_of_label = np.cumsum(present) - 1
    width = count + 1
    cells = row_of_label[reference.astype(np.uint8)] * width + components
    counts = np.bincount(cells.ravel(), minlength=len(labels) * width)
    return Overlap(labels, counts.reshape(len(labels), width))
