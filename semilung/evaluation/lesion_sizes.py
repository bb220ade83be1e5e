"""Lesions by size: how many of the small ones are found?"""

from __future__ import annotations

import math

import pandas as pd

from semilung.evaluation.intervals import wilson
from semilung.evaluation.segmentation import SIZE_BINS_MM
from semilung.types import UserError


def by_size(lesions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of `lesions.csv` by diameter: all of them, then those of each bin of `SIZE_BINS_MM`.

    Example:
        >>> list(by_size(pd.DataFrame({"diameter_mm": [4.0, 12.0]})))
        ['all', '< 6 mm', '6-10 mm', '10-20 mm', '>= 20 mm']
    """
    groups = {"all": lesions}
    for low, high in SIZE_BINS_MM:
        size = f"< {high:g}" if low == 0 else f">= {low:g}" if math.isinf(high) else f"{low}-{high}"
        of_size = (lesions["diameter_mm"] >= low) & (lesions["diameter_mm"] < high)
        groups[f"{size} mm"] = lesions[of_size]
    return groups


def size_bins(lesions: pd.DataFrame) -> pd.DataFrame:
    """Sensitivity, the share of lesions detected, in all and by diameter, with Wilson intervals.

    Detection is averaged over the seeds of a lesion first, so a lesion counts once in `n_lesions`
    and in the interval (see `wilson`) however many seeds have judged it. Lesions are taken as
    independent, and seeds as they are: of few trainings the interval speaks about lesions alone.

    Args:
        lesions: Rows of `lesions.csv`: case, instance, diameter_mm, detected. Of several seeds and
            arms stacked, with the columns seed and arm.

    Returns:
        A row a bin, of each arm: arm (where there is such a column), size (as in `by_size`),
        n_lesions, n_seeds, sensitivity, low, high. NaN where a bin holds no lesion.

    Raises:
        UserError: The seeds of an arm were judged on different lesions.

    Example:
        >>> lesions = pd.DataFrame({"case": [*"abab"], "instance": 1, "seed": [0, 0, 1, 1],
        ...     "diameter_mm": [4.0, 8.0] * 2, "detected": [True, True, False, True]})
        >>> size_bins(lesions)[["size", "n_lesions", "sensitivity"]].head(3).values.tolist()
        [['all', 2, 0.75], ['< 6 mm', 1, 0.5], ['6-10 mm', 1, 1.0]]
    """
    arms = lesions.groupby("arm", sort=False) if "arm" in lesions else [(None, lesions)]
    rows = []
    for arm, of_arm in arms:
        n_seeds = of_arm["seed"].nunique() if "seed" in of_arm else 1
        for size, chosen in by_size(of_arm).items():
            detected = chosen.groupby(["case", "instance"])["detected"]
            _require_every_seed(detected.size(), n_seeds)
            found = wilson(detected.mean())
            rows.append(
                {
                    **({} if arm is None else {"arm": arm}),
                    "size": size,
                    "n_lesions": found.n,
                    "n_seeds": n_seeds,
                    "sensitivity": found.mean,
                    "low": found.low,
                    "high": found.high,
                }
            )
    return pd.DataFrame(rows)


def _require_every_seed(judged: pd.Series[int], n_seeds: int) -> None:
    odd = judged[judged != n_seeds]
    if len(odd):
        case, instance = odd.index[0]
        msg = (
            f"seeds were judged on different lesions: lesion {instance} of {case} comes "
            f"{odd.iloc[0]} times with {n_seeds} seeds"
        )
        raise UserError(f"{msg}; give every seed's lesions once, of one split, with column seed")
