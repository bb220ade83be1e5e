"""How volumes are predicted and cut into masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from semilung.bounds import require_bounds
from semilung.types import UserError

PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Of forward passes, by Lightning's names, and the number type of their convolutions."""


@dataclass
class InferenceConfig:
    """Sliding-window prediction and post-processing.

    Attributes:
        window: Window in voxels of the prepared grid.
        overlap: Share of a window that the next one covers again, in [0, 0.9].
        batch_size: Windows a forward pass.
        threshold: Foreground where the probability is above it, in [0, 1).
        min_volume_mm3: Smaller components are removed.
        precision: `32-true`, or `bf16-mixed` or `16-mixed`, which pay on a GPU and not on a CPU.

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
        """Refuse windows and shares that cannot be."""
        require_bounds(self, "inference")
        if len(list(self.window)) != 3:
            msg = f"inference.window is three sizes in voxels, got {tuple(self.window)}"
            raise UserError(msg)
        if self.precision not in PRECISIONS:
            msg = f"inference.precision is one of {', '.join(PRECISIONS)}; got {self.precision!r}"
            raise UserError(msg)
