"""Configuration of prediction and post-processing."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from semilung.bounds import require_bounds
from semilung.types import UserError

PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Precisions of forward passes by Lightning's names, and the dtype of their convolutions."""

FALLBACK_WINDOW = (64, 64, 64)
"""Window of models that cannot be applied to a whole volume in parts, where none is set."""


@dataclass
class InferenceConfig:
    """Prediction of a volume, and post-processing.

    Attributes:
        window: Sliding window in voxels of the prepared grid. None predicts the whole volume in one
            pass, or in parts with a halo as `memory_gib` allows; a model that normalises over its
            input is then predicted by windows of 64.
        memory_gib: Memory of a pass over a whole volume, in addition to the volume and its result.
        overlap: Share of a window that the next one overlaps, in [0, 0.9].
        batch_size: Sliding windows in a forward pass.
        threshold: Probability above which a voxel is foreground, in [0, 1).
        min_volume_mm3: Smaller components are removed.
        gate: Least probability of a detected centre near which the mask may hold foreground, for
            runs of segmentation and detection; 0 for no gate.
        flips: Average over the image mirrored along every combination of axes, after activation:
            8 forward passes instead of one, in validations too.
        precision: `32-true`, or `bf16-mixed` or `16-mixed`, which are faster only on a GPU.

    Raises:
        UserError: A value out of its range.
    """

    window: tuple[int, int, int] | None = None
    memory_gib: float = 4.0
    overlap: float = 0.5
    batch_size: int = 4
    threshold: float = 0.5
    min_volume_mm3: float = 0.0
    gate: float = 0.0
    flips: bool = False
    precision: str = "32-true"

    def __post_init__(self) -> None:
        """Check the ranges of all values."""
        require_bounds(self, "inference")
        if self.window is not None and len(list(self.window)) != 3:
            raise UserError(
                f"inference.window must be three sizes in voxels, or null for the whole volume, "
                f"got {tuple(self.window)}"
            )
        if self.precision not in PRECISIONS:
            names = ", ".join(PRECISIONS)
            msg = f"inference.precision must be one of {names}, got {self.precision!r}"
            raise UserError(msg)
