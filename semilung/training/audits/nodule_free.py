"""Crops of lung without a nodule, as the training's own sampling draws them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semilung.data import AugmentConfig, DataConfig, PreparedCase, StepDataset
from semilung.training.audits.probe import is_lung, scanner_features
from semilung.types import UserError

EDGE, SMALLEST_EDGE = 16, 8
"""Of the crops, in voxels: small enough to lie next to a nodule; smaller ones have no spectrum."""

MOST_CASES = 48
"""Cases of each role that are looked at."""

TRIES, MOST_CROPS = 8, 3
"""Windows drawn of each case, and the most that are used."""

Cases = Mapping[str, Sequence[PreparedCase]]


class Crops(NamedTuple):
    """Features `(N, F)`, whether healthy `(N,)`, and the N patients of the crops."""

    features: NDArray[np.float64]
    healthy: NDArray[np.bool_]
    patients: list[str]

    def n_patients(self) -> tuple[int, int]:
        """Healthy ones, and labelled ones."""
        sides = dict(zip(self.patients, self.healthy.tolist(), strict=True))
        return sum(sides.values()), len(sides) - sum(sides.values())


def choose_cases(cases: Cases, *, seed: int) -> Cases:
    """At most `MOST_CASES` a role by seed, patients in turn; none of a patient of both roles."""
    patients = [{item.case.patient for item in items} for items in cases.values()]
    both = set.intersection(*patients)
    return {
        role: _in_turn([item for item in items if item.case.patient not in both], seed)
        for role, items in cases.items()
    }


def draw_crops(cases: Cases, data: DataConfig, augment: AugmentConfig, *, seed: int) -> Crops:
    """Weak views of windows that are mostly lung and hold no nodule, as their features.

    Args:
        cases: Of the roles labelled and healthy.
        data: The training's window and sampling.
        augment: What varies the views.
        seed: Of the run.

    Raises:
        UserError: Volumes are too small for a crop, or cannot be read.
    """
    edge = min(EDGE, *(min(item.shape) for items in cases.values() for item in items))
    if edge < SMALLEST_EDGE:
        raise UserError(f"volumes of {edge} voxels are too small for crops of {SMALLEST_EDGE}")
    # A step takes every case once, for a stream's epoch is a permutation of its cases.
    once = {role: len(items) for role, items in cases.items()}
    sampling = replace(data, crop=(edge,) * 3, batch=once, foreground=0.0, overhang=0.0)
    steps = StepDataset(cases, sampling, augment, seed=seed, views=("weak",), fields=("mask",))
    patient = {item.name: item.case.patient for items in cases.values() for item in items}
    counts: Counter[str] = Counter()
    rows: list[tuple[NDArray[np.float64], bool, str]] = []
    for step in range(TRIES):
        batch = steps[step]
        if isinstance(batch, UserError):
            raise batch
        for role, samples in batch.items():
            for x, mask, name in zip(*(samples[k] for k in ("weak", "mask", "case")), strict=True):
                hu = _in_hu(x, data.window_hu)
                if counts[name] < MOST_CROPS and not mask.any() and is_lung(hu):
                    counts[name] += 1
                    rows.append((scanner_features(hu), role == "healthy", patient[name]))
    features, healthy, patients = zip(*rows, strict=True) if rows else ((), (), ())
    return Crops(np.array(features), np.array(healthy, bool), list(patients))


def _in_hu(view: Tensor, window_hu: tuple[float, float]) -> NDArray[np.float32]:
    low, high = window_hu
    hu: NDArray[np.float32] = (view[0] * (high - low) + low).numpy()
    return hu


def _in_turn(items: Sequence[PreparedCase], seed: int) -> list[PreparedCase]:
    """The first case of each patient in a drawn order, then the second ones, and so on."""
    turn: Counter[str] = Counter()
    ranked = []
    for i in np.random.default_rng(seed).permutation(len(items)).tolist():
        ranked.append((turn[items[i].case.patient], items[i]))
        turn[items[i].case.patient] += 1
    return [item for _, item in sorted(ranked, key=lambda entry: entry[0])][:MOST_CASES]
