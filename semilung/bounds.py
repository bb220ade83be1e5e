"""Valid ranges of all numeric settings: one table, one check, one message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from semilung.types import UserError


@dataclass(frozen=True)
class Bound:
    """An interval, closed by default; infinities and NaN are in none.

    Example:
        >>> str(Bound(0, 1, below=True)), Bound(0, 1).holds(1), Bound(0, 1).holds(float("nan"))
        ('in [0, 1)', True, False)
    """

    low: float
    high: float
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Return whether a number is in the interval."""
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        return over and under

    def __str__(self) -> str:
        return f"in {'(' if self.above else '['}{self.low}, {self.high}{')' if self.below else ']'}"


SHARE = Bound(0, 1)
BELOW_ONE = Bound(0, 1, below=True)
COUNT = Bound(1, 10**9)
EVERY = Bound(0, 10**9)
SEED = Bound(0, 2**63 - 1)
HU = Bound(-32768, 32767)
HU_STEP = Bound(0, 10_000)
FACTOR = Bound(0, 100, above=True)
EDGE = Bound(1, 2048)
RATE = Bound(0, 1000)

BOUNDS = {
    "data.labelled": COUNT,
    "data.healthy": COUNT,
    "data.folds": Bound(2, 1000),
    "data.fold": Bound(0, 999),
    "data.split_seed": SEED,
    "data.val_fraction": BELOW_ONE,
    "data.test_fraction": BELOW_ONE,
    "data.spacing_mm": Bound(0.01, 100),
    "data.clip_hu": HU,  # volumes are stored in int16
    "data.lung_margin_mm": Bound(0, 1000),
    "data.window_hu": Bound(-1500, 32767),
    "data.crop": EDGE,
    "data.batch": Bound(0, 1024),
    "data.bags": Bound(1, 1024),
    "data.bag_size": Bound(1, 4096),
    "data.foreground": SHARE,
    "data.hard_negatives": SHARE,
    "data.overhang": Bound(0, 0.5),
    "data.workers": Bound(0, 256),
    "augment.affine_probability": SHARE,
    "augment.rotation_degrees": Bound(0, 45),
    "augment.scale": FACTOR,
    "augment.nodule_mm": Bound(0, 1000, above=True),
    "augment.weak_shift_hu": HU_STEP,
    "augment.weak_contrast": BELOW_ONE,
    "augment.weak_noise_hu": HU_STEP,
    "augment.strong_probability": SHARE,
    "augment.strong_shift_hu": HU_STEP,
    "augment.strong_contrast": BELOW_ONE,
    "augment.strong_gamma": FACTOR,
    "augment.strong_noise_hu": HU_STEP,
    "augment.strong_blur_voxels": FACTOR,
    "augment.cutout_holes": Bound(0, 1000),
    "augment.cutout_share": BELOW_ONE,
    "optim.lr": RATE,
    "optim.weight_decay": RATE,
    "optim.momentum": BELOW_ONE,
    "optim.warmup": BELOW_ONE,
    "optim.clip_norm": EVERY,
    "trainer.max_steps": COUNT,
    "trainer.log_every": COUNT,
    "trainer.validate_every": EVERY,
    "trainer.checkpoint_every": COUNT,
    "trainer.mine_every": COUNT,
    "trainer.devices": Bound(1, 1024),
    "trainer.threads": Bound(0, 1024),
    "inference.window": EDGE,
    "inference.memory_gib": Bound(0, 10**6, above=True),
    "inference.overlap": Bound(0, 0.9),
    "inference.batch_size": Bound(1, 4096),
    "inference.threshold": BELOW_ONE,
    "inference.min_volume_mm3": EVERY,
    "inference.gate": BELOW_ONE,
    "radiomics.spacing_mm": Bound(0.1, 20),
    "radiomics.range_hu": HU,
    "radiomics.outlier_sigma": Bound(0, 100, above=True),
    "radiomics.bin_width_hu": Bound(0.1, 10_000),
    "radiomics.bins": Bound(2, 4096),
    "characterize.folds": Bound(2, 100),
    "characterize.inner_folds": Bound(2, 100),
    "characterize.repeats": Bound(1, 1000),
    "characterize.seed": Bound(0, 4 * 10**6),  # times repeats within scikit-learn's 2**32
    "characterize.stability": SHARE,
    "characterize.redundancy": Bound(0, 1, above=True),
    "characterize.bootstraps": Bound(100, 10**5),
    "characterize.size_bins_mm": Bound(0, 1000, above=True),
    "seed": SEED,
    "teacher_decay": BELOW_ONE,
    # models and strategies check their own options; these limit those of third-party packages
    "model": Bound(-4096, 4096),
    "model.depth": Bound(0, 256),
    "strategies": Bound(-(10**9), 10**9),
    "tasks": Bound(-(10**9), 10**9),
}
"""Bound of each dotted setting; it applies to every number of a list or mapping."""

MAX_LISTED = 64
"""Largest length of a list among the options of a model."""


def require_bounds(settings: Any, group: str = "") -> None:
    """Check every number of a dataclass of settings against the table.

    Args:
        settings: The dataclass; nested ones check themselves.
        group: Its name in the config, such as `data`; empty for the whole config.

    Raises:
        UserError: A number is out of range, infinite or NaN; the message names the setting.
    """
    for field in fields(settings):
        name = f"{group}.{field.name}" if group else field.name
        if name in BOUNDS:
            require_bound(name, getattr(settings, field.name))


def require_bound(name: str, value: Any) -> None:
    """Check every number within a value against the bound of a setting.

    Raises:
        UserError: A number is out of range, or a list is too long.

    Example:
        >>> require_bound("data.crop", [8, 0, 8])
        Traceback (most recent call last):
        semilung.types.UserError: data.crop=[8, 0, 8] is out of range: it must be in [1, 2048]
    """
    for key, number in _numbers(name, value):
        bound = BOUNDS.get(key) or BOUNDS[name]
        if not bound.holds(number):
            shown = list(value) if isinstance(value, list | tuple) else number
            raise UserError(f"{key}={shown!r:.100} is out of range: it must be {bound}")


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield every number of a value, with its dotted name."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        if len(value) > MAX_LISTED:
            raise UserError(f"{name} lists {len(value)} values; give at most {MAX_LISTED}")
        for item in value:
            yield from _numbers(name, item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value
