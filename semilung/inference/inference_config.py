"""Configuration of prediction and post-processing."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from semilung.bounds import require_bounds
from semilung.types import UserError

PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Precisions of forward passes by Lightning's names, and the dtype of their convolutions."""


@dataclass
class InferenceConfig:
    """Sliding-window prediction and post-processing.

    Attributes:
        window: Window in voxels of the prepared grid.
        overlap: Share of a window that the next one overlaps, in [0, 0.9].
        batch_size: Windows in a forward pass.
        threshold: Probability above which a voxel is foreground, in [0, 1).
        min_volume_mm3: Smaller components are removed.
        precision: `32-true`, or `bf16-mixed` or `16-mixed`, which are faster only on a GPU.

    Raises:
        UserError: A value out of its range.
    """

    window: tuple[int, int, int] = (64, 64, 64)
    overlap: float = 0.5
    batch_size: int = 4
    threshold: float = 0.5
    min_volume_mm3: float = 0.0
    precision: str = "32-true"

    def __post_init__(self) -> None:
        """Check the ranges of all values."""
        require_bounds(self, "inference")
        if len(list(self.window)) != 3:
            msg = f"inference.window must be three sizes in voxels, got {tuple(self.window)}"
            raise UserError(msg)
        if self.precision not in PRECISIONS:
            names = ", ".join(PRECISIONS)
            msg = f"inference.precision must be one of {names}, got {self.precision!r}"
            raise UserError(msg)
