"""Sliding-window prediction of a whole volume."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semilung.data.io.grid import Shape
from semilung.inference.net_ensemble import WindowNets, coarse_shape, evaluating
from semilung.inference.outputs import Activation, foreground_probability, stride_of
from semilung.inference.windows import (
    box,
    coarse_box,
    divide_by_weights,
    gaussian_weights,
    touching,
    window_starts,
)


def predict_maps(
    model: nn.Module | Sequence[nn.Module],
    image: Tensor,
    *,
    outputs: Mapping[str, Activation],
    window: Sequence[int],
    overlap: float = 0.5,
    batch_size: int = 4,
    window_hu: tuple[float, float] | None = None,
    lungs: NDArray[np.bool_] | None = None,
    precision: str = "32-true",
    flips: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Predict several outputs of a volume from windows with Gaussian weights.

    Outputs are averaged after their activation, so probabilities, not logits: an unbounded logit of
    one window, at whose border a voxel has little context, could outweigh all others. Several
    models are averaged the same way, so the order of the two averages does not matter.

    A volume smaller than the window is padded by mirroring, as training crops are, and so is a
    window of a size that the model does not accept (`WindowNets`). The model runs in eval mode,
    without gradients, on the device of its parameters; the modes of its submodules are restored
    afterwards. In addition to image and result, memory is that of `batch_size` windows.

    Args:
        model: Maps `(B, 1, X, Y, Z)` to a dict with every head of `outputs`, `(B, C, X, Y, Z)`. The
            outputs of several models, on one device, are averaged.
        image: `(X, Y, Z)`, scaled to [0, 1], or in HU with `window_hu`.
        outputs: Head to its activation.
        window: Size of a window in voxels along X, Y, Z; rounded up to a multiple of the strides.
        overlap: Share of a window that the next one overlaps, in [0, 1).
        batch_size: Windows in a forward pass.
        window_hu: HU scaled to 0 and 1, window by window; None for a scaled image.
        lungs: Blocks with lung (`lung_blocks`): windows without any are skipped, and voxels
            without a window get 0. None, or no lung at all, skips nothing.
        precision: Precision of the forward passes, one of `PRECISIONS`; averages are float32.
        flips: Average the outputs of all mirrored images, at 8 times the cost.
        progress: Called after each forward pass with the numbers of windows done and in total.

    Returns:
        Head to `(K, X', Y', Z')` float32 on the CPU, K as its activation gives, X' = ceil(X / s) at
        its stride s.

    Raises:
        UserError: An output is not finite, a head does not exist, or the model fails on the window.
        ValueError: The image is not 3D, the overlap is outside [0, 1), or there is no model.
    """
    models = [model] if isinstance(model, nn.Module) else list(model)
    if image.ndim != 3 or not models or not 0 <= overlap < 1:
        raise ValueError(
            "prediction needs an image (X, Y, Z), a model and an overlap in [0, 1): got "
            f"{tuple(image.shape)}, {len(models)} models, overlap {overlap}"
        )
    strides = {head: stride_of(activation) for head, activation in outputs.items()}
    common = math.lcm(*strides.values())
    x, y, z = (-(-int(n) // common) * common for n in window)
    size = (x, y, z)
    voxels, before = _at_least(image.cpu().numpy(), size, common)
    starts = window_starts(voxels.shape, size, overlap, common)
    if lungs is not None:
        starts = touching(starts, size, lungs)  # along a padded axis, the window covers all of it
    weights = {s: gaussian_weights(coarse_shape(size, s)) for s in strides.values()}
    totals: dict[str, Tensor] = {}
    nets = WindowNets(
        models, outputs=outputs, precision=precision, window_hu=window_hu, flips=flips
    )
    with evaluating(models), torch.no_grad():
        for first in range(0, len(starts), batch_size):
            cuts = [box(start, np.array(size)) for start in starts[first : first + batch_size]]
            windows = np.stack([voxels[cut] for cut in cuts])[:, None]
            for head, values in nets(windows).items():
                stride = strides[head]
                if head not in totals:
                    shape = coarse_shape(voxels.shape, stride)
                    totals[head] = torch.zeros((values.shape[1], *shape))
                for cut, value in zip(cuts, values, strict=True):
                    place = (slice(None), *coarse_box(cut, stride))
                    totals[head][place].addcmul_(weights[stride], value)
            if progress is not None:
                progress(first + len(cuts), len(starts))
    inner = box(before, np.array(image.shape))
    for head, total in totals.items():
        divide_by_weights(total, weights[strides[head]], starts // strides[head])
        totals[head] = total[(slice(None), *coarse_box(inner, strides[head]))]
    return totals


def predict_probability(
    model: nn.Module | Sequence[nn.Module], image: Tensor, *, head: str = "logits", **options: Any
) -> Tensor:
    """Predict the foreground probability of one head; see `predict_maps` for the options.

    Returns:
        `(X, Y, Z)` float32 in [0, 1], on the CPU.
    """
    maps = predict_maps(model, image, outputs={head: foreground_probability}, **options)
    return maps[head][0].clamp_(0, 1)  # rounding may exceed 1


def _at_least(
    voxels: NDArray[Any], size: Shape, stride: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Pad a volume to `size` by mirroring; return it and the padding before each axis.

    The result's shape and the padding before are multiples of the stride.
    """
    extents = np.maximum(size, -(-np.array(voxels.shape) // stride) * stride)
    padding = extents - voxels.shape
    before = padding // 2 // stride * stride
    if not padding.any():
        return voxels, before
    widths = list(zip(before, padding - before, strict=True))
    return np.pad(voxels, widths, mode="symmetric"), before
