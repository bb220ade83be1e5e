"""Are two strategies different? Seeds averaged within a case, then paired over cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from semilung.types import UserError

Figures = NDArray[np.float64]
Counts = NDArray[np.int64]


class _Arm(NamedTuple):
    """Figures of an arm `(S, U)`, seeds by units; its seeds, and whose case each unit is of."""

    values: Figures
    seeds: tuple[Any, ...]
    case_of_unit: NDArray[np.intp]


def compare_arms(
    cases: pd.DataFrame,
    *,
    figure: str = "dice",
    reference: str = "supervised",
    bootstrap: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Means of arms, and their differences from a reference arm.

    Args:
        cases: A row for every arm, seed and case (and instance, where there is such a column: then
            lesions are compared), in columns of these names, and the figure. NaN is undefined.
        figure: The column that is compared.
        reference: The arm that others are compared with.
        bootstrap: Number of bootstrap samples.
        seed: Same seed, same intervals.

    Returns:
        A row an arm, in the order in which they come: arm, n_cases, n_undefined, n_seeds, mean,
        low, high, n_pairs, difference, difference_low, difference_high, p, p_holm. The
        reference's own difference and p are NaN.

    Raises:
        UserError: The reference is missing, an arm or a seed was judged on other cases than the
            rest, or a case comes twice.
    """
    arms = _arms(cases, figure, reference)
    draws = _Draws(bootstrap, seed)
    rows = [
        {
            "arm": name,
            **_of_arm(arm, draws),
            **(_of_pair(arm, arms[reference], draws) if name != reference else {}),
        }
        for name, arm in arms.items()
    ]
    columns = ["arm", *_ARM_COLUMNS, *_PAIR_COLUMNS]
    table = pd.DataFrame(rows, columns=columns)
    table["n_pairs"] = table["n_pairs"].fillna(0).astype(int)
    return table.assign(p_holm=holm(table["p"]))


def relative_reduction(
    cases: pd.DataFrame,
    *,
    figure: str = "fp_volume_mm3",
    reference: str = "supervised, no healthy",
    bootstrap: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Share of a figure that each arm takes off the reference's, `1 - mean(arm) / mean(reference)`.

    Returns:
        A row for every arm but the reference: arm, n_pairs, n_seeds, reduction, low, high. 1 takes
        all off, negative adds; NaN where the reference's mean is 0.
    """
    arms = _arms(cases, figure, reference)
    draws = _Draws(bootstrap, seed)
    rows = []
    for name, arm in arms.items():
        if name == reference:
            continue
        a, r = _paired(arm, arms[reference])
        found = np.array([np.nan if y == 0 else 1 - x / y for x, y in [(_mean(a), _mean(r))]])
        x, y = draws.means(a), draws.means(r)
        off = 1 - np.divide(x, y, out=np.full_like(x, np.nan), where=y != 0)
        low, high = _interval(off, a)
        rows.append(
            {
                "arm": name,
                "n_pairs": int(_defined(a).sum()),
                "n_seeds": len(arm.seeds),
                "reduction": float(found[0]),
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)


def holm(p: Sequence[float] | pd.Series[float]) -> NDArray[np.float64]:
    """p-values corrected for being many, by Holm's step-down rule (Scand. J. Statist. 1979).

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=float)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    corrected = np.full_like(values, np.nan)
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1)
    return corrected


_ARM_COLUMNS = ["n_cases", "n_undefined", "n_seeds", "mean", "low", "high"]
_PAIR_COLUMNS = ["n_pairs", "difference", "difference_low", "difference_high", "p"]


def _of_arm(arm: _Arm, draws: _Draws) -> dict[str, float]:
    defined = int(_defined(arm).sum())
    low, high = _interval(draws.means(arm), arm)
    counts = (defined, arm.values.shape[1] - defined, len(arm.seeds))
    return dict(zip(_ARM_COLUMNS, (*counts, _mean(arm), low, high), strict=True))


def _of_pair(arm: _Arm, reference: _Arm, draws: _Draws) -> dict[str, float]:
    a, r = _paired(arm, reference)
    low, high = _interval(draws.means(a) - draws.means(r), a)
    difference = np.nanmean(a.values, axis=0) - np.nanmean(r.values, axis=0)
    p = _wilcoxon(difference)
    figures = (a.values.shape[1], float(difference.mean()), low, high, p)
    return dict(zip(_PAIR_COLUMNS, figures, strict=True))


def _wilcoxon(difference: Figures) -> float:
    if not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference).pvalue)


class _Draws:
    def __init__(self, bootstrap: int, seed: int) -> None:
        self._bootstrap, self._seed = bootstrap, seed

    def means(self, arm: _Arm) -> Figures:
        rng = np.random.default_rng(self._seed)
        n = int(arm.case_of_unit.max(initial=-1)) + 1
        if n == 0:
            return np.full(self._bootstrap, np.nan)
        cases = rng.multinomial(n, [1 / n] * n, size=self._bootstrap)[:, arm.case_of_unit]
        s = len(arm.seeds)
        seeds = rng.multinomial(max(s - 1, 1), [1 / s] * s, size=self._bootstrap)
        known = ~np.isnan(arm.values)
        total, count = seeds @ np.where(known, arm.values, 0), seeds @ known
        weight = cases * (count > 0)
        return np.asarray((weight * total / np.maximum(count, 1)).sum(axis=1) / weight.sum(axis=1))


def _mean(arm: _Arm) -> float:
    defined = arm.values[:, _defined(arm)]
    return float(np.nanmean(defined, axis=0).mean()) if defined.size else float("nan")


def _defined(arm: _Arm) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(arm.values).all(axis=0))


def _paired(a: _Arm, b: _Arm) -> tuple[_Arm, _Arm]:
    both = _defined(a) & _defined(b)
    codes = np.unique(a.case_of_unit[both], return_inverse=True)[1]
    return tuple(arm._replace(values=arm.values[:, both], case_of_unit=codes) for arm in (a, b))  # type: ignore[return-value]


def _interval(means: Figures, arm: _Arm) -> tuple[float, float]:
    if len(np.unique(arm.case_of_unit)) < 2:
        return float("nan"), float("nan")
    low, high = np.nanquantile(means, (0.025, 0.975))
    return float(low), float(high)


def _arms(cases: pd.DataFrame, figure: str, reference: str) -> dict[str, _Arm]:
    unit = [name for name in ("case", "instance") if name in cases.columns]
    if reference not in set(cases["arm"]):
        raise UserError(f"the reference arm {reference!r} is not among {sorted(set(cases['arm']))}")
    arms = {}
    for name in cases["arm"].unique():
        table = cases[cases["arm"] == name].pivot(index="seed", columns=unit, values=figure)
        table = table.sort_index(axis=1)
        codes = np.unique(table.columns.get_level_values("case"), return_inverse=True)[1]
        arms[str(name)] = _Arm(table.to_numpy(float), tuple(table.index), codes)
    return arms
