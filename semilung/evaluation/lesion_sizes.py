"""Sensitivity by lesion diameter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from semilung.evaluation.intervals import wilson
from semilung.evaluation.segmentation import SIZE_BINS_MM
from semilung.types import UserError


def by_size(
    lesions: pd.DataFrame, bins_mm: Sequence[tuple[float, float]] = SIZE_BINS_MM
) -> dict[str, pd.DataFrame]:
    """Return rows of `lesions.csv` by diameter: all, then those of each bin, `[low, high)` in mm.

    Lesions of unknown diameter (NaN) are in no bin.

    Example:
        >>> list(by_size(pd.DataFrame({"diameter_mm": [4.0, 12.0]})))
        ['all', '< 6 mm', '6-10 mm', '10-20 mm', '>= 20 mm']
    """
    groups = {"all": lesions}
    for low, high in bins_mm:
        size = (
            f"< {high:g}"
            if low == 0
            else f">= {low:g}"
            if math.isinf(high)
            else f"{low:g}-{high:g}"
        )
        within = (lesions["diameter_mm"] >= low) & (lesions["diameter_mm"] < high)
        groups[f"{size} mm"] = lesions[within]
    return groups


def size_bins(lesions: pd.DataFrame, column: str = "detected") -> pd.DataFrame:
    """Return sensitivity, the share of lesions detected, overall and by diameter.

    Detection is averaged over seeds within a lesion first, so a lesion counts once in `n_lesions`
    and in its interval (`wilson`) whatever the number of seeds. The interval treats lesions as
    independent and seeds as fixed: it excludes the variation between trainings.

    Args:
        lesions: Rows of `lesions.csv`: case, instance, diameter_mm, `column`. Several seeds and
            arms are stacked, with the columns seed and arm.
        column: Whether a lesion was detected, or a share in [0, 1]; NaN for lesions that do not
            count, such as those that another task evaluates.

    Returns:
        One row per bin and arm: arm (if there is such a column), size (as in `by_size`), n_lesions,
        n_seeds, sensitivity, low, high. NaN where a bin contains no lesion.

    Raises:
        UserError: The seeds of an arm were evaluated on different lesions.

    Example:
        >>> lesions = pd.DataFrame({"case": [*"abab"], "instance": 1, "seed": [0, 0, 1, 1],
        ...     "diameter_mm": [4.0, 8.0] * 2, "detected": [True, True, False, True]})
        >>> size_bins(lesions)[["size", "n_lesions", "sensitivity"]].head(3).values.tolist()
        [['all', 2, 0.75], ['< 6 mm', 1, 0.5], ['6-10 mm', 1, 1.0]]
    """
    arms = lesions.groupby("arm", sort=False) if "arm" in lesions else [(None, lesions)]
    rows = []
    for arm, arm_lesions in arms:
        n_seeds = arm_lesions["seed"].nunique() if "seed" in arm_lesions else 1
        for size, sized in by_size(arm_lesions).items():
            detected = sized.groupby(["case", "instance"])[column]
            _require_every_seed(detected.size(), n_seeds)
            sensitivity = wilson(detected.mean())
            rows.append(
                {
                    **({} if arm is None else {"arm": arm}),
                    "size": size,
                    "n_lesions": sensitivity.n,
                    "n_seeds": n_seeds,
                    "sensitivity": sensitivity.mean,
                    "low": sensitivity.low,
                    "high": sensitivity.high,
                }
            )
    return pd.DataFrame(rows)


def _require_every_seed(counts: pd.Series[int], n_seeds: int) -> None:
    """Raise UserError unless every lesion has one row per seed."""
    unequal = counts[counts != n_seeds]
    if len(unequal):
        case, instance = unequal.index[0]
        msg = (
            f"seeds were evaluated on different lesions: lesion {instance} of {case} has "
            f"{unequal.iloc[0]} rows for {n_seeds} seeds; give every seed's lesions once, of one "
            f"split, with a column seed"
        )
        raise UserError(msg)
