"""Image formation by the scanner: blur of the reconstruction kernel and correlated noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy import ndimage

from semilung.data.phantom.canvas import Floats

Kernel: TypeAlias = Literal["smooth", "sharp"]


@dataclass(frozen=True)
class Scanner:
    """A reconstruction `kernel` and the standard deviation of its noise in HU."""

    kernel: Kernel
    noise_hu: float

    @classmethod
    def draw(cls, rng: np.random.Generator, *, sharp: float) -> Scanner:
        """Draw a scanner: sharp (with probability `sharp`), 24-40 HU of noise; or smooth, 15-28."""
        kernel: Kernel = "sharp" if rng.random() < sharp else "smooth"
        low, high = (24, 40) if kernel == "sharp" else (15, 28)
        return cls(kernel, rng.uniform(low, high))

    def acquire(self, hu: Floats, spacing_mm: float, rng: np.random.Generator) -> Floats:
        """Blur `hu` by the kernel's point spread function and add its noise."""
        psf_mm = 0.6 if self.kernel == "sharp" else 1.0
        blurred = ndimage.gaussian_filter(hu, psf_mm / spacing_mm)
        scanned: Floats = blurred + self.noise(hu.shape, spacing_mm, rng)
        return scanned

    def noise(self, shape: tuple[int, ...], spacing_mm: float, rng: np.random.Generator) -> Floats:
        """Draw noise of the kernel's texture: blobs of 1.5 mm (smooth), or fine grain (sharp)."""
        white = rng.standard_normal(shape, dtype=np.float32)
        blobs: Floats = ndimage.gaussian_filter(white, 1.5 / spacing_mm)
        grain = blobs if self.kernel == "smooth" else white - 0.7 * blobs
        scaled: Floats = grain * np.float32(self.noise_hu / grain.std())
        return scaled
