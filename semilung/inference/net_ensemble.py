"""Nets as one function of a batch of windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semilung.exhaustion import is_out_of_memory
from semilung.inference.inference_config import PRECISIONS
from semilung.types import UserError

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
"""What sizes of windows are padded to multiples of, one after another, until the nets take them."""


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


@contextmanager
def evaluating(models: Sequence[nn.Module]) -> Iterator[None]:
    """Models in evaluation mode; the modes of all their submodules are restored afterwards."""
    modes = {module: module.training for model in models for module in model.modules()}
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training  # not train(mode), which would reach into the children


class WindowNets:
    """Mean foreground probability of some nets on windows of any size.

    Many U-nets take sizes that their strides divide, and fail on others or return another size.
    The first batch shows which multiple of `MULTIPLES` they need: windows go on mirrored up to it,
    and the outputs are cut back. Nets that take every size run as they are.

    Args:
        nets: In evaluation mode, on one device.
        head: The output that is read.
        precision: One of `PRECISIONS`.

    Attributes:
        multiple: What sizes are padded to a multiple of; 0 before the first batch.
    """

    def __init__(self, nets: Sequence[nn.Module], *, head: str, precision: str) -> None:
        self.multiple = 0
        self._nets = nets
        self._head = head
        self._dtype = PRECISIONS[precision]
        parameter = next((p for net in nets for p in net.parameters()), None)
        self._device = torch.device("cpu") if parameter is None else parameter.device

    def __call__(self, windows: NDArray[np.float32]) -> Tensor:
        """Probability `(B, X, Y, Z)` on CPU, of windows `(B, 1, X, Y, Z)`.

        Raises:
            UserError: No padding makes the nets take the windows, an output is not finite, or
                there is no such head.
        """
        if self.multiple:
            return self._padded(windows, self.multiple)
        errors: list[Exception] = []
        for multiple in MULTIPLES:
            try:
                probabilities = self._padded(windows, multiple)
            except UserError:
                raise
            except Exception as error:  # whatever somebody's net makes of a size
                if is_out_of_memory(error):
                    raise
                errors.append(error)
            else:
                self.multiple = multiple
                return probabilities
        size, reason = windows.shape[2:], " ".join(str(errors[0]).split())[:200]
        raise UserError(
            f"the model fails on windows of {size} voxels, also when padded to multiples of "
            f"{MULTIPLES[-1]} ({type(errors[0]).__name__}: {reason}). Choose another size "
            f"(inference.window), or another model"
        ) from errors[0]

    def _padded(self, windows: NDArray[np.float32], multiple: int) -> Tensor:
        extents = windows.shape[2:]
        lacking = [(0, -n % multiple) for n in extents]
        if any(after for _, after in lacking):
            windows = np.pad(windows, [(0, 0), (0, 0), *lacking], mode="symmetric")
        batch = torch.from_numpy(windows).to(self._device)
        with torch.autocast(batch.device.type, self._dtype, enabled=self._dtype != torch.float32):
            outputs = [foreground_probability(self._logits(net, batch)) for net in self._nets]
        x, y, z = extents
        return torch.stack(outputs).mean(0)[:, 0, :x, :y, :z].cpu()

    def _logits(self, net: nn.Module, batch: Tensor) -> Tensor:
        outputs: Mapping[str, Tensor] = net(batch)
        if self._head not in outputs:
            msg = f"the model has no head {self._head!r}, it has {', '.join(outputs)}"
            raise UserError(f"{msg}; name one of these, or train a strategy that asks for the head")
        logits = outputs[self._head]
        if logits.shape[2:] != batch.shape[2:]:
            found = f"{tuple(logits.shape[2:])} for {tuple(batch.shape[2:])} voxels"
            raise ValueError(f"the output's size is not the window's: {found}")
        if (
            not logits.isfinite().all()
        ):  # of which an infinite one would pass for a sure probability
            msg = "the model's output is not finite, so its silence would be no finding"
            raise UserError(f"{msg}; has training diverged? Take an earlier checkpoint")
        return logits
