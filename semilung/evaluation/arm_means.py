"""Figures of an arm by seed and case, and the hierarchical bootstrap of their mean."""

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
    """What one arm reached.

    `values` `(S, U)` holds seeds by units, NaN where undefined; a unit is a case, or a lesion of
    one. `case_of_unit` `(U,)` numbers the case that each unit belongs to, from 0 on without gaps.
    """

    seeds: tuple[int, ...]
    values: NDArray[np.float64]
    case_of_unit: NDArray[np.intp]

    def defined(self) -> NDArray[np.bool_]:
        """`(U,)`: whether at least one seed defines the unit."""
        return np.asarray(~np.isnan(self.values).all(axis=0))

    def only(self, units: NDArray[np.bool_]) -> Arm:
        """The arm on some of its units."""
        cases = np.unique(self.case_of_unit[units], return_inverse=True)[1]
        return replace(self, values=self.values[:, units], case_of_unit=cases)

    def of_units(self) -> NDArray[np.float64]:
        """`(U,)`: the mean over the seeds that define a unit; all units must be defined."""
        return np.asarray(np.nanmean(self.values, axis=0))

    def of_cases(self) -> NDArray[np.float64]:
        """`(C,)`: the mean over seeds, then over the units of a case."""
        return np.asarray(
            np.bincount(self.case_of_unit, self.of_units()) / np.bincount(self.case_of_unit)
        )


def read_arms(table: pd.DataFrame, figure: str) -> dict[str, Arm]:
    """Arms by name, in the order of the table, all with the same units in the same order.

    Units that no arm defines are left out, such as healthy scans where the figure is Dice.

    Args:
        table: Columns arm, seed, case and the figure, and instance if units are lesions.
        figure: The column that is read.

    Raises:
        UserError: A column is missing, a unit comes twice, or arms (or seeds of one arm) were
            judged on different units.
    """
    unit = [name for name in ("case", "instance") if name in table]
    absent = {"arm", "seed", "case", figure} - set(table)
    if absent:
        msg = f"a comparison needs the columns arm, seed, case and {figure}; absent: "
        raise UserError(f"{msg}{', '.join(sorted(absent))}")
    keys = ["arm", "seed", *unit]
    _require_once_each(table.groupby(keys).size().unstack(unit, fill_value=0))
    wide = table.set_index(keys)[figure].unstack(unit).sort_index(axis=1)
    wide = wide.loc[:, wide.notna().any()]
    cases = np.unique(wide.columns.get_level_values("case"), return_inverse=True)[1]
    return {
        name: Arm(tuple(of_arm.index), of_arm.to_numpy(float), cases)
        for name, of_arm in ((name, wide.loc[name].sort_index()) for name in table["arm"].unique())
    }


def _require_once_each(counts: pd.DataFrame) -> None:
    """Refuse a table `(arm and seed, unit)` of row counts that are not all 1."""
    for where, row in counts.iterrows():
        arm, seed = cast("tuple[str, int]", where)
        twice, lacking = _cases(row > 1), _cases(row == 0)
        if twice:
            msg = f"arm {arm!r}, seed {seed}, holds {twice} more than once; give every run once"
            raise UserError(msg)
        if lacking:
            msg = f"arms were judged on different cases: {arm!r}, seed {seed}, lacks {lacking}"
            raise UserError(
                f"{msg}, which others were judged on. Means over different cases cannot be "
                "compared: evaluate every run on the same split of the same manifest"
            )


def _cases(chosen: pd.Series) -> str:
    """Some of the cases of the units chosen, and how many there are."""
    names = list(dict.fromkeys(chosen.index[chosen].get_level_values("case")))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(str, names[:5])) + more


def resampled_means(arms: Sequence[Arm], *, bootstrap: int, seed: int) -> list[NDArray[np.float64]]:
    """Means of arms over common draws of cases and seeds: a hierarchical bootstrap.

    Every seed is judged on every case, so the two are crossed and are resampled apart, each as a
    whole (the pigeonhole bootstrap; Owen, Ann. Appl. Stat. 2007). One resample of C cases and S
    seeds

    - draws C cases with replacement, the same for all arms; a lesion goes with its case, for
      lesions of one scan are no independent evidence;
    - draws S - 1 seeds with replacement, the same for all cases, for a seed is one training and
      its luck is shared by all that it predicts, and the same for arms with the same seeds,
      which share the labelled cases and the first weights. Not S: of few seeds the plain bootstrap
      gives (S - 1) / S of the variance, two thirds at three seeds; S - 1 draws give all of it
      (Rao and Wu, JASA 1988). A single seed is always drawn: then cases alone vary;
    - averages over the drawn seeds that define a unit, then over the drawn units that every arm
      defines, so that what differs between arms is never which cases they speak of.

    Args:
        arms: With the same units in the same order, each of them defined.
        bootstrap: Number of resamples.
        seed: Same seed, same draws.

    Returns:
        For every arm `(bootstrap,)`; NaN where the drawn seeds define none of the drawn units.
    """
    rng = np.random.default_rng(seed)
    case_of_unit = arms[0].case_of_unit
    n_cases = int(case_of_unit.max(initial=-1)) + 1
    found: list[list[NDArray[np.float64]]] = [[] for _ in arms]
    for start in range(0, bootstrap if n_cases else 0, _BLOCK):
        size = min(_BLOCK, bootstrap - start)
        drawn = _draw(rng, n_cases, n_cases, size)[:, case_of_unit]
        seeds = {
            names: _draw(rng, len(names), max(len(names) - 1, 1), size)
            for names in dict.fromkeys(arm.seeds for arm in arms)
        }
        of_units = [_of_units(arm.values, seeds[arm.seeds]) for arm in arms]
        weight = drawn * np.logical_and.reduce([defined for _, defined in of_units])
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: nothing drawn is defined
            for (values, _), means in zip(of_units, found, strict=True):
                means.append((weight * values).sum(axis=1) / weight.sum(axis=1))
    return [np.concatenate(means) if means else np.full(bootstrap, np.nan) for means in found]


def _draw(rng: np.random.Generator, n: int, draws: int, size: int) -> NDArray[np.float64]:
    """`(size, n)`: how often each of n comes in `draws` draws with replacement."""
    drawn = rng.integers(n, size=(size, draws)) + n * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(float)


def _of_units(
    values: NDArray[np.float64], seeds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Means `(B, U)` of `(S, U)` values over drawn seeds `(B, S)`, and where they are defined."""
    known = ~np.isnan(values)
    total, count = seeds @ np.where(known, values, 0.0), seeds @ known.astype(float)
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0), count > 0
