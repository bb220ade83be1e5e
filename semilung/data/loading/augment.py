"""Weak and strong views of a crop: intensity, noise, blur and occlusion, never geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandAdjustContrast,
    RandCoarseDropout,
    RandGaussianNoise,
    RandGaussianSmooth,
    RandScaleIntensity,
    RandShiftIntensity,
)
from numpy.typing import NDArray
from torch import Tensor

from semilung.data.data_config import AugmentConfig
from semilung.data.io.grid import Shape


class Views:
    """Weak and strong views of windowed crops; each view starts from the same crop.

    Magnitudes in HU are divided by the window's width. Contrast is scaled about the window's low
    end (air); gamma acts within a crop's own range; occlusion is noise over that range.

    Args:
        config: Magnitudes.
        window_hu: Range of HU that is scaled to [0, 1].
        size: Size of a crop in voxels.

    Example:
        >>> views = Views(AugmentConfig(), window_hu=(-1000, 400), size=(8, 8, 8))
        >>> crop = np.full((8, 8, 8), 0.5, np.float32)
        >>> view = views.make("strong", crop, seed=3)
        >>> tuple(view.shape), bool(torch.equal(view, views.make("strong", crop, seed=3)))
        ((1, 8, 8, 8), True)
    """

    def __init__(
        self, config: AugmentConfig, *, window_hu: tuple[float, float], size: Shape
    ) -> None:
        unit = 1 / (window_hu[1] - window_hu[0])
        self._chains: dict[str, Any] = {
            "weak": Compose(
                [
                    RandScaleIntensity(config.weak_contrast, prob=1.0),
                    RandShiftIntensity(config.weak_shift_hu * unit, prob=1.0),
                    RandGaussianNoise(prob=1.0, std=config.weak_noise_hu * unit),
                ]
            ),
            "strong": Compose(_strong(config, unit, size)),
        }

    def make(self, view: str, crop: NDArray[np.float32], *, seed: int) -> Tensor:
        """Return one view of a crop.

        Args:
            view: `weak` or `strong`.
            crop: `(X, Y, Z)` in [0, 1]; not changed.
            seed: Determines the view, together with `view`.

        Returns:
            `(1, X, Y, Z)` float32 in [0, 1].
        """
        chain = self._chains[view]
        chain.set_random_state(seed=seed)
        varied = chain(torch.from_numpy(crop)[None].clone())
        return torch.as_tensor(np.asarray(varied), dtype=torch.float32).clamp_(0.0, 1.0)


def _strong(config: AugmentConfig, unit: float, size: Shape) -> list[Any]:
    p = config.strong_probability
    sigma = config.strong_blur_voxels
    chain = [
        RandScaleIntensity(config.strong_contrast, prob=p),
        RandShiftIntensity(config.strong_shift_hu * unit, prob=p),
        RandAdjustContrast(prob=p, gamma=config.strong_gamma),
        RandGaussianSmooth(sigma, sigma, sigma, prob=p),
        RandGaussianNoise(prob=p, std=config.strong_noise_hu * unit),
    ]
    if config.cutout_holes:
        largest = tuple(max(1, round(config.cutout_share * n)) for n in size)
        smallest = tuple(max(1, n // 2) for n in largest)
        chain.append(
            RandCoarseDropout(
                holes=1,
                max_holes=config.cutout_holes,
                spatial_size=smallest,
                max_spatial_size=largest,
                prob=p,
            )
        )
    return chain
