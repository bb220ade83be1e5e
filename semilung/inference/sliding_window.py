"""Whole-volume prediction by overlapping windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semilung.data.io.grid import Shape
from semilung.data.loading.intensity import scale_hu
from semilung.inference.net_ensemble import WindowNets, evaluating
from semilung.inference.windows import (
    box,
    divide_by_weights,
    gaussian_weights,
    touching,
    window_starts,
)


def predict_probability(
    model: nn.Module | Sequence[nn.Module],
    image: Tensor,
    *,
    window: Sequence[int],
    overlap: float = 0.5,
    batch_size: int = 4,
    head: str = "logits",
    window_hu: tuple[float, float] | None = None,
    lungs: NDArray[np.bool_] | None = None,
    precision: str = "32-true",
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Foreground probability of a whole volume, from windows blended with Gaussian weights.

    Probabilities are blended, not logits. A logit has no bound, so the one window that sees a spot
    at its rim, with little context and much confidence, could outvote all others; a probability
    weighs at most 1. It is also the rule by which several models are averaged, so the
    order of the two averages does not matter.

    A volume smaller than the window goes on mirrored, as the crops of training do, and so does a
    window of a size that the model does not take (`WindowNets`). The model runs
    in eval mode, without gradients, on the device of its parameters; the modes of all its
    submodules are restored afterwards. Besides image and result, memory is that of `batch_size`
    windows, however large the volume.

    Args:
        model: `model(x)` maps `(B, 1, X, Y, Z)` to a dict with `head` in it, `(B, C, X, Y, Z)`. Of
            several models (all on one device) the probabilities are averaged.
        image: `(X, Y, Z)`, scaled to [0, 1], or in HU where `window_hu` is given.
        window: Size of a window in voxels along X, Y, Z.
        overlap: Share of a window that its neighbour covers too, in [0, 1).
        batch_size: Windows a forward pass.
        head: The output that is read, such as `anomaly`.
        window_hu: HU scaled to 0 and 1, window by window; None where the image is scaled already.
        lungs: Which blocks hold lung (`lung_blocks`): windows that touch none are skipped, and the
            probability where no window was is 0. None, or no lung at all, skips nothing.
        precision: Of the forward passes, one of `PRECISIONS`; windows are blended in float32.
        progress: Called after each forward pass with the windows that are done and all of them.

    Returns:
        `(X, Y, Z)` float32 in [0, 1], on CPU.

    Raises:
        UserError: The model's output is not finite, it has no such head, or fails on the window.
        ValueError: The image is not 3D, the overlap is outside [0, 1), or no model is given.
    """
    models = [model] if isinstance(model, nn.Module) else list(model)
    if image.ndim != 3 or not models or not 0 <= overlap < 1:
        found = f"{tuple(image.shape)}, {len(models)} models, overlap {overlap}"
        raise ValueError(f"needs an image (X, Y, Z), a model and an overlap in [0, 1): {found}")
    x, y, z = window
    size = (int(x), int(y), int(z))
    voxels, before = _at_least(image.cpu().numpy(), size)
    starts = window_starts(voxels.shape, size, overlap)
    if lungs is not None:
        starts = touching(starts, size, lungs)  # where mirrored, a window is as long as the axis
    weights, total = gaussian_weights(size), torch.zeros(voxels.shape)
    nets = WindowNets(models, head=head, precision=precision)
    with evaluating(models), torch.no_grad():
        for first in range(0, len(starts), batch_size):
            cuts = [box(start, np.array(size)) for start in starts[first : first + batch_size]]
            seen = np.stack([_scaled(voxels[cut], window_hu) for cut in cuts])[:, None]
            for cut, found in zip(cuts, nets(seen), strict=True):
                total[cut].addcmul_(weights, found)
            if progress is not None:
                progress(first + len(cuts), len(starts))
    divide_by_weights(total, weights, starts)
    return total[box(before, np.array(image.shape))].clamp_(0, 1)  # weights may round beyond 1


def _at_least(voxels: NDArray[Any], size: Shape) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """A volume mirrored where it is smaller than `size`, and how much was put before it."""
    lacking = np.maximum(0, np.array(size) - voxels.shape)
    before = lacking // 2
    if not lacking.any():
        return voxels, before
    widths = list(zip(before, lacking - before, strict=True))
    return np.pad(voxels, widths, mode="symmetric"), before


def _scaled(voxels: NDArray[Any], window_hu: tuple[float, float] | None) -> NDArray[np.float32]:
    return voxels.astype(np.float32) if window_hu is None else scale_hu(voxels, window_hu)
