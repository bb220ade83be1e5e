"""Metric values of an arm by seed and case, and the hierarchical bootstrap of their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.types import UserError

_BLOCK = 1000  # resamples at a time, which bounds the memory


@dataclass(frozen=True)
class Arm:
    """Values of one metric in one arm.

    `values` `(S, U)` holds seeds by units, NaN where undefined; a unit is a case, or a lesion of
    one. `case_of_unit` `(U,)` is the index of each unit's case, 0 to C - 1.
    """

    seeds: tuple[int, ...]
    values: NDArray[np.float64]
    case_of_unit: NDArray[np.intp]

    def defined(self) -> NDArray[np.bool_]:
        """Return `(U,)`: whether at least one seed defines the unit."""
        return np.asarray(~np.isnan(self.values).all(axis=0))

    def subset(self, units: NDArray[np.bool_]) -> Arm:
        """Return the arm restricted to some of its units."""
        cases = np.unique(self.case_of_unit[units], return_inverse=True)[1]
        return replace(self, values=self.values[:, units], case_of_unit=cases)

    def unit_means(self) -> NDArray[np.float64]:
        """Return `(U,)`: the mean over the seeds that define a unit; all must be defined."""
        return np.asarray(np.nanmean(self.values, axis=0))

    def case_means(self) -> NDArray[np.float64]:
        """Return `(C,)`: the mean over seeds, then over the units of a case."""
        return np.asarray(
            np.bincount(self.case_of_unit, self.unit_means()) / np.bincount(self.case_of_unit)
        )


def read_arms(table: pd.DataFrame, metric: str) -> dict[str, Arm]:
    """Return arms by name, in the order of the table, all with the same units in the same order.

    Units that no arm defines are dropped, such as healthy scans where the metric is Dice.

    Args:
        table: Columns arm, seed, case and the metric, and instance if units are lesions.
        metric: Name of the column to read.

    Raises:
        UserError: A column is missing, a unit occurs twice, or arms (or seeds of one arm) were
            evaluated on different units.
    """
    unit = [name for name in ("case", "instance") if name in table]
    absent = {"arm", "seed", "case", metric} - set(table)
    if absent:
        msg = (
            f"a comparison needs the columns arm, seed, case and {metric}; absent: "
            f"{', '.join(sorted(absent))}. Add them to the table"
        )
        raise UserError(msg)
    keys = ["arm", "seed", *unit]
    _require_one_row_each(table.groupby(keys).size().unstack(unit, fill_value=0))
    wide = table.set_index(keys)[metric].unstack(unit).sort_index(axis=1)
    wide = wide.loc[:, wide.notna().any()]
    cases = np.unique(wide.columns.get_level_values("case"), return_inverse=True)[1]
    return {
        name: Arm(tuple(rows.index), rows.to_numpy(float), cases)
        for name, rows in ((name, wide.loc[name].sort_index()) for name in table["arm"].unique())
    }


def _require_one_row_each(counts: pd.DataFrame) -> None:
    """Raise UserError unless all row counts `(arm and seed, unit)` are 1."""
    for index, row in counts.iterrows():
        arm, seed = cast("tuple[str, int]", index)
        repeated, absent = _cases(row > 1), _cases(row == 0)
        if repeated:
            msg = f"arm {arm!r}, seed {seed}, has {repeated} more than once; give every run once"
            raise UserError(msg)
        if absent:
            msg = (
                f"arms were evaluated on different cases: {arm!r}, seed {seed}, lacks {absent}. "
                f"Means over different cases are not comparable: evaluate every run on the same "
                f"split of the same manifest"
            )
            raise UserError(msg)


def _cases(mask: pd.Series) -> str:
    """Return up to five names of the cases of the masked units, and the number of the others."""
    names = list(dict.fromkeys(mask.index[mask].get_level_values("case")))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(str, names[:5])) + more


def resampled_means(arms: Sequence[Arm], *, bootstrap: int, seed: int) -> list[NDArray[np.float64]]:
    """Return bootstrap means of arms over common resamples of cases and seeds.

    Every seed is evaluated on every case, so the two factors are crossed and are resampled
    separately (pigeonhole bootstrap; Owen, Ann. Appl. Stat. 2007). One resample of C cases and S
    seeds

    - draws C cases with replacement, the same for all arms. Lesions are resampled with their case,
      because lesions of one scan are not independent;
    - draws S - 1 seeds with replacement, the same for all cases, because a seed is one training
      run that affects all its predictions, and the same for arms with equal seeds, which share
      labelled cases and initial weights. With S draws the bootstrap underestimates the variance
      by (S - 1) / S, a third at three seeds; S - 1 draws are unbiased (Rao and Wu, JASA 1988). A
      single seed is always drawn, so that only cases vary;
    - averages over the drawn seeds that define a unit, then over the drawn units that every arm
      defines, so that all arms are averaged over the same cases.

    Args:
        arms: With the same units in the same order, each of them defined.
        bootstrap: Number of resamples.
        seed: Seed of the random generator.

    Returns:
        For every arm `(bootstrap,)`; NaN where the drawn seeds define none of the drawn units.
    """
    rng = np.random.default_rng(seed)
    case_of_unit = arms[0].case_of_unit
    n_cases = int(case_of_unit.max(initial=-1)) + 1
    blocks: list[list[NDArray[np.float64]]] = [[] for _ in arms]
    for start in range(0, bootstrap if n_cases else 0, _BLOCK):
        size = min(_BLOCK, bootstrap - start)
        unit_counts = _draw_counts(rng, n_cases, n_cases, size)[:, case_of_unit]
        seed_counts = {
            seeds: _draw_counts(rng, len(seeds), max(len(seeds) - 1, 1), size)
            for seeds in dict.fromkeys(arm.seeds for arm in arms)
        }
        unit_means = [_unit_means(arm.values, seed_counts[arm.seeds]) for arm in arms]
        weight = unit_counts * np.logical_and.reduce([defined for _, defined in unit_means])
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: no drawn unit is defined
            for (values, _), means in zip(unit_means, blocks, strict=True):
                means.append((weight * values).sum(axis=1) / weight.sum(axis=1))
    return [np.concatenate(means) if means else np.full(bootstrap, np.nan) for means in blocks]


def _draw_counts(rng: np.random.Generator, n: int, draws: int, size: int) -> NDArray[np.float64]:
    """Return `(size, n)`: how often each of n items occurs in `draws` draws with replacement."""
    cells = rng.integers(n, size=(size, draws)) + n * np.arange(size)[:, None]
    return np.bincount(cells.ravel(), minlength=size * n).reshape(size, n).astype(float)


def _unit_means(
    values: NDArray[np.float64], seeds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return `(B, U)` means of `(S, U)` values over seed counts `(B, S)`, and where defined."""
    defined = ~np.isnan(values)
    total, count = seeds @ np.where(defined, values, 0.0), seeds @ defined.astype(float)
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0), count > 0
