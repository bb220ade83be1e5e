"""Whole-volume prediction by overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semilung.data.intensity import scale_hu
from semilung.data.volume import Shape
from semilung.inference.config import PRECISIONS
from semilung.inference.windows import (
    box,
    divide_by_weights,
    gaussian_weights,
    touching,
    window_starts,
)
from semilung.types import UserError


def foreground_probability(logits: Tensor) -> Tensor:
    """Probability of "nodule" from a segmentation head.

    `sigmoid(logits)` for one channel; `1 - softmax(logits)[:, 0]` for two or more, where channel 0
    is background.

    Args:
        logits: `(B, C, X, Y, Z)`.

    Returns:
        `(B, 1, X, Y, Z)` float32 in [0, 1].
    """
    logits = logits.float()
    if logits.shape[1] == 1:
        return logits.sigmoid()
    return 1 - logits.softmax(dim=1)[:, :1]


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
) -> Tensor:
    """Foreground probability of a whole volume, from windows blended with Gaussian weights.

    Probabilities are blended, not logits. A logit has no bound, so the one window that sees a spot
    at its rim, with little context and much confidence, could outvote all others; a probability
    weighs at most 1. It is also the rule by which several models are averaged, so the
    order of the two averages does not matter.

    A volume smaller than the window goes on mirrored, as the crops of training do. The model runs
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

    Returns:
        `(X, Y, Z)` float32 in [0, 1], on CPU.

    Raises:
        UserError: The model's output is not finite, or it has no such head.
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
    with _evaluating(models), torch.no_grad():
        for first in range(0, len(starts), batch_size):
            cuts = [box(start, np.array(size)) for start in starts[first : first + batch_size]]
            seen = np.stack([_scaled(voxels[cut], window_hu) for cut in cuts])[:, None]
            probabilities = _probabilities(models, seen, head, PRECISIONS[precision])
            for cut, found in zip(cuts, probabilities, strict=True):
                total[cut].addcmul_(weights, found)
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


def _probabilities(
    models: Sequence[nn.Module], seen: NDArray[np.float32], head: str, dtype: torch.dtype
) -> Tensor:
    """Mean foreground probability of the models on windows, `(B, X, Y, Z)` on CPU."""
    parameter = next((p for m in models for p in m.parameters()), None)
    windows = torch.from_numpy(seen).to("cpu" if parameter is None else parameter.device)
    with torch.autocast(windows.device.type, dtype, enabled=dtype != torch.float32):
        outputs = [foreground_probability(_output(m(windows), head)) for m in models]
    return torch.stack(outputs).mean(0)[:, 0].cpu()


def _output(outputs: Mapping[str, Tensor], head: str) -> Tensor:
    if head not in outputs:
        msg = f"the model has no head {head!r}, it has {', '.join(outputs)}"
        raise UserError(f"{msg}; name one of these, or train a strategy that asks for the head")
    logits = outputs[head]
    if not logits.isfinite().all():  # of which an infinite one would pass for a sure probability
        msg = "the model's output is not finite, so its silence would be no finding"
        raise UserError(f"{msg}; has training diverged? Take an earlier checkpoint")
    return logits


@contextmanager
def _evaluating(models: Sequence[nn.Module]) -> Iterator[None]:
    modes = {module: module.training for model in models for module in model.modules()}
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training  # not train(mode), which would reach into the children
