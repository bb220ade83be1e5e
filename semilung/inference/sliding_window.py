"""Whole-volume prediction by overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

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
) -> Tensor:
    """Foreground probability of a whole volume, from windows blended with Gaussian weights.

    Probabilities are blended, not logits. A logit has no bound, so the one window that sees a spot
    at its rim, with little context and much confidence, could outvote all others; a probability
    weighs at most 1. It is also the rule by which several models are averaged, so the
    order of the two averages does not matter.

    A volume smaller than the window goes on mirrored, as the crops of training do. The model runs
    in eval mode, without gradients, on the device of its parameters; the modes of all its
    submodules are restored afterwards.

    Args:
        model: `model(x)` maps `(B, 1, X, Y, Z)` to a dict with `head` in it, `(B, C, X, Y, Z)`. Of
            several models (all on one device) the probabilities are averaged.
        image: `(X, Y, Z)`, scaled to [0, 1].
        window: Size of a window in voxels along X, Y, Z.
        overlap: Share of a window that its neighbour covers too, in [0, 1).
        batch_size: Windows a forward pass.
        head: The output that is read, such as `anomaly`.

    Returns:
        `(X, Y, Z)` float32 in [0, 1], on CPU.

    Raises:
        UserError: The model's output is not finite, or it has no such head.
        ValueError: The image is not 3D, the overlap is outside [0, 1), or no model is given.
    """
    models = [model] if isinstance(model, nn.Module) else list(model)
    if image.ndim != 3 or not models:
        msg = f"needs an image (X, Y, Z) and a model: {tuple(image.shape)}, {len(models)} models"
        raise ValueError(msg)
    parameter = next((p for m in models for p in m.parameters()), None)

    def predictor(windows: Tensor) -> Tensor:
        return torch.stack(
            [foreground_probability(_output(m(windows), head)) for m in models]
        ).mean(0)

    pads = [max(0, size - n) for size, n in zip(window, image.shape, strict=True)]
    widths = [(pad // 2, pad - pad // 2) for pad in pads]
    padded = torch.from_numpy(np.pad(image.float().cpu().numpy(), widths, mode="symmetric"))
    with _evaluating(models), torch.no_grad():
        probability: Tensor = sliding_window_inference(
            padded[None, None],
            tuple(window),
            batch_size,
            predictor,
            overlap=overlap,
            mode="gaussian",
            sw_device=torch.device("cpu") if parameter is None else parameter.device,
            device=torch.device("cpu"),
        )
    if not probability.isfinite().all():
        msg = "the model's output is not finite, so its silence would be no finding"
        raise UserError(f"{msg}; has training diverged? Take an earlier checkpoint")
    inside = tuple(slice(low, low + n) for (low, _), n in zip(widths, image.shape, strict=True))
    return probability[0, 0][inside].clamp(0, 1)  # dividing by the weights may round beyond 1


def _output(outputs: Mapping[str, Tensor], head: str) -> Tensor:
    if head not in outputs:
        msg = f"the model has no head {head!r}, it has {', '.join(outputs)}"
        raise UserError(f"{msg}; name one of these, or train a strategy that asks for the head")
    return outputs[head]


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
