"""Lesion-wise sensitivity by size."""

from __future__ import annotations

import math

import pandas as pd

from semilung.evaluation.segmentation import SIZE_BINS_MM


def size_bins(lesions: pd.DataFrame) -> pd.DataFrame:
    """Share of lesions detected, in all and by diameter, with Wilson intervals.

    Args:
        lesions: Rows of `lesions.csv`; of several runs with a column seed, of several arms with a
            column arm.

    Returns:
        A row a bin (and arm): arm (where given), size, n_lesions, n_seeds, sensitivity, low, high.
    """
    arms = lesions.groupby("arm", sort=False) if "arm" in lesions else [(None, lesions)]
    rows = []
    for arm, table in arms:
        for size, low, high in [("all", 0, math.inf), *_bins()]:
            chosen = table[(table["diameter_mm"] >= low) & (table["diameter_mm"] < high)]
            detected = chosen.groupby(["case", "instance"])["detected"].mean()
            rows.append(
                {
                    **({} if arm is None else {"arm": arm}),
                    "size": size,
                    "n_lesions": len(detected),
                    "n_seeds": table["seed"].nunique() if "seed" in table else 1,
                    **dict(zip(("sensitivity", "low", "high"), _wilson(detected), strict=True)),
                }
            )
    return pd.DataFrame(rows)


def _bins() -> list[tuple[str, float, float]]:
    def name(low: float, high: float) -> str:
        return (
            f"< {high:g} mm"
            if low == 0
            else f">= {low:g} mm"
            if math.isinf(high)
            else (f"{low:g}-{high:g} mm")
        )

    return [(name(low, high), low, high) for low, high in SIZE_BINS_MM]


def _wilson(detected: pd.Series[float]) -> tuple[float, float, float]:
    n = len(detected)
    if not n:
        return math.nan, math.nan, math.nan
    p, z2 = float(detected.mean()), 1.959964**2
    centre, half = p + z2 / (2 * n), math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    return p, (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
