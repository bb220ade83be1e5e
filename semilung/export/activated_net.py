"""A net as other programs run it: image in, activated outputs out, for volumes of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semilung.inference.net_ensemble import WindowNets
from semilung.inference.outputs import Activation
from semilung.inference.predictor import MASK_HEAD
from semilung.types import UserError

TOLERANCE = 1e-4
"""Largest accepted difference of an exported program from torch, relative to the largest output or
to 1, which is the largest probability."""

EXAMPLE = (2, 32, 40, 48)
COMPARED = ((1, 24, 32, 40), (2, 41, 33, 26), (1, 64, 27, 31))
"""Batch and edges in voxels of the image that is recorded and of those that are compared; edges are
rounded up to what the net accepts."""


class ActivatedNet(nn.Module):
    """Outputs of heads after their activations, as a tuple: probabilities of a segmentation.

    Args:
        net: Maps `(B, 1, X, Y, Z)` to a dict with every head.
        heads: Head to its activation.

    Attributes:
        multiple: Edges of an image must be multiples of it; 1 where the net accepts any size.
        names: Of the outputs, `probability` for the mask.
    """

    def __init__(self, net: nn.Module, heads: Mapping[str, Activation]) -> None:
        super().__init__()
        self.net = net.cpu().eval().requires_grad_(False)  # what is recorded works in place
        self._heads = dict(heads)
        self.names = ["probability" if head == MASK_HEAD else head for head in heads]
        trial = WindowNets([self.net], outputs=heads, precision="32-true")
        with torch.no_grad():
            trial(np.zeros((1, 1, *COMPARED[1][1:]), np.float32))
        self.multiple = trial.multiple

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return `(B, K, X, Y, Z)` for each head of an image `(B, 1, X, Y, Z)` in [0, 1]."""
        outputs = self.net(x)
        return tuple(activation(outputs[head]) for head, activation in self._heads.items())

    def example(self) -> Tensor:
        """Return an image for recording."""
        return next(_images([EXAMPLE], self.multiple))

    def require_equal(self, program: Callable[[Tensor], list[NDArray[np.float32]]]) -> None:
        """Compare an exported program with the net, at several sizes and batches.

        Args:
            program: Returns the outputs for an image.

        Raises:
            UserError: They differ by more than `TOLERANCE`, or the program fails.
        """
        for image in _images(COMPARED, self.multiple):
            size = " x ".join(map(str, image.shape[2:]))
            with torch.no_grad():
                expected = [output.numpy() for output in self(image)]
            try:
                outputs = program(image)
            except Exception as error:  # a runtime may raise anything
                reason = " ".join(str(error).split())[-300:]
                raise UserError(
                    f"the exported net fails at {size} voxels: {reason}. Nothing was written; the "
                    f"net cannot be exported in this form, choose --to safetensors"
                ) from error
            for name, output, value in zip(self.names, outputs, expected, strict=True):
                same = output.shape == value.shape
                error_ = float(np.abs(output - value).max()) if same else float("inf")
                if not error_ <= TOLERANCE * max(1.0, float(np.abs(value).max())):
                    raise UserError(
                        f"the exported net differs from the run's by {error_:.2g} in {name} at "
                        f"{size} voxels, and {TOLERANCE:g} is allowed. Nothing was written; choose "
                        f"--to safetensors"
                    )


def _images(
    sizes: list[tuple[int, ...]] | tuple[tuple[int, ...], ...], multiple: int
) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for batch, *edges in sizes:
        yield torch.rand((batch, 1, *(n + -n % multiple for n in edges)), generator=generator)
