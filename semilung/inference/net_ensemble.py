"""Mean activated outputs of several nets on a batch of windows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semilung.data.io.grid import Shape
from semilung.data.loading.intensity import scale_hu
from semilung.exhaustion import is_out_of_memory
from semilung.inference.inference_config import PRECISIONS
from semilung.inference.outputs import Activation, mirrored, stride_of
from semilung.types import UserError

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
"""Multiples that window sizes are padded to, tried in turn until the nets accept them."""

FLIPS = tuple(axes for count in range(4) for axes in combinations(range(3), count))
"""Axes of an image that are mirrored, the 8 combinations; the first one mirrors none."""


@contextmanager
def evaluating(models: Sequence[nn.Module]) -> Iterator[None]:
    """Set models to evaluation mode, and restore the modes of all submodules afterwards."""
    modes = {module: module.training for model in models for module in model.modules()}
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training  # not train(mode), which also sets the children


class WindowNets:
    """Mean activated outputs of several nets on windows of any size.

    Many U-Nets need sizes that are divisible by their strides. The first batch determines which of
    `MULTIPLES` they need: windows are padded to it by mirroring, and outputs are cropped. Nets that
    accept every size run without padding.

    Args:
        nets: In evaluation mode, on one device.
        outputs: Head to its activation.
        precision: One of `PRECISIONS`.
        window_hu: HU that the nets get as 0 and 1; None where windows are scaled already.
        flips: Average the outputs of all `FLIPS` of a window, each turned back.

    Attributes:
        multiple: Sizes are padded to a multiple of it; 0 before the first batch.
    """

    def __init__(
        self,
        nets: Sequence[nn.Module],
        *,
        outputs: Mapping[str, Activation],
        precision: str,
        window_hu: tuple[float, float] | None = None,
        flips: bool = False,
    ) -> None:
        self.multiple = 0
        self._flips = FLIPS if flips else ()
        self._common = math.lcm(*map(stride_of, outputs.values())) if flips else 1
        self._nets = nets
        self._outputs = outputs
        self._window_hu = window_hu
        self._dtype = PRECISIONS[precision]
        parameter = next((p for net in nets for p in net.parameters()), None)
        self._device = torch.device("cpu") if parameter is None else parameter.device

    def __call__(self, windows: NDArray[Any]) -> dict[str, Tensor]:
        """Return each head's values, on the CPU, of windows `(B, 1, X, Y, Z)`.

        They are `(B, K, X', Y', Z')` with X' = ceil(X / stride) of the head.

        Raises:
            UserError: The nets fail with every padding, an output is not finite, or the head does
                not exist.
        """
        windows = _scaled(windows, self._window_hu)
        if self.multiple:
            return self._padded(windows, self.multiple)
        errors: list[Exception] = []
        for multiple in MULTIPLES:
            try:
                maps = self._padded(windows, multiple)
            except UserError:
                raise
            except Exception as error:  # a net may raise anything on an unsupported size
                if is_out_of_memory(error):
                    raise
                errors.append(error)
            else:
                self.multiple = multiple
                return maps
        size, reason = windows.shape[2:], " ".join(str(errors[0]).split())[:200]
        raise UserError(
            f"the model fails on windows of {size} voxels, also when padded to multiples of "
            f"{MULTIPLES[-1]} ({type(errors[0]).__name__}: {reason}). Choose another size "
            "(inference.window) or another model"
        ) from errors[0]

    def _padded(self, windows: NDArray[np.float32], multiple: int) -> dict[str, Tensor]:
        extents, multiple = windows.shape[2:], math.lcm(multiple, self._common)
        padding = [(0, -n % multiple) for n in extents]
        if any(after for _, after in padding):
            windows = np.pad(windows, [(0, 0), (0, 0), *padding], mode="symmetric")
        batch = torch.from_numpy(windows).to(self._device)
        means = self._means(batch)
        for axes in self._flips[1:]:
            for head, values in self._means(batch.flip([2 + axis for axis in axes])).items():
                means[head] += mirrored(values, self._outputs[head], axes)
        for head, activation in self._outputs.items():
            x, y, z = coarse_shape(extents, stride_of(activation))
            mean = means[head] / len(self._flips) if self._flips else means[head]
            means[head] = mean[..., :x, :y, :z].cpu()
        return means

    def _means(self, batch: Tensor) -> dict[str, Tensor]:
        """Return each head's values, the mean over the nets."""
        with torch.autocast(batch.device.type, self._dtype, enabled=self._dtype != torch.float32):
            results = [self._activated(net(batch), batch.shape[2:]) for net in self._nets]
        return {head: torch.stack([m[head] for m in results]).mean(0) for head in self._outputs}

    def _activated(self, outputs: Mapping[str, Tensor], size: torch.Size) -> dict[str, Tensor]:
        for head, activation in self._outputs.items():
            if head not in outputs:
                raise UserError(
                    f"the model has no head {head!r}, it has {', '.join(outputs)}: choose one of "
                    "these, or train a strategy that needs the head"
                )
            _require_valid(outputs[head], coarse_shape(size, stride_of(activation)))
        return {head: activation(outputs[head]) for head, activation in self._outputs.items()}


def _scaled(windows: NDArray[Any], window_hu: tuple[float, float] | None) -> NDArray[np.float32]:
    return windows.astype(np.float32) if window_hu is None else scale_hu(windows, window_hu)


def coarse_shape(shape: Sequence[int], stride: int) -> Shape:
    """Return the shape of a head at a stride for an image.

    Example:
        >>> coarse_shape((7, 8, 9), 2)
        (4, 4, 5)
    """
    x, y, z = (-(-n // stride) for n in shape)
    return (x, y, z)


def _require_valid(output: Tensor, size: Shape) -> None:
    """Raise an error unless an output has the size that its window asks for and finite values."""
    if output.shape[2:] != size:
        raise ValueError(
            "the output has another size than the window: "
            f"{tuple(output.shape[2:])} and {size} voxels"
        )
    if not output.isfinite().all():  # an infinite logit would become a probability of 0 or 1
        raise UserError(
            "the model's output is not finite, so an empty mask would mean nothing: training "
            "may have diverged. Use an earlier checkpoint"
        )
