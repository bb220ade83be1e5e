"""Is one strategy better than another? Seeds averaged within a case, then paired over cases."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from semilung.arm_names import BASELINE, NO_HEALTHY
from semilung.evaluation.arm_means import Arm, read_arms, resampled_means
from semilung.evaluation.intervals import holm
from semilung.types import UserError

_COLUMNS = [
    *("arm", "n_cases", "n_undefined", "n_seeds", "mean", "low", "high"),
    *("n_pairs", "difference", "difference_low", "difference_high", "p"),
]


def compare_arms(
    cases: pd.DataFrame,
    *,
    figure: str = "dice",
    reference: str = BASELINE,
    bootstrap: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Means of arms, and how far each is from a reference arm on the same cases.

    The figures of a case are averaged over the seeds that define it, and these averages over cases.
    A difference is taken case by case, over the cases that both arms define.

    - `low` to `high` and `difference_low` to `difference_high` are 95 % percentile intervals of the
      hierarchical bootstrap over seeds and cases, `resampled_means`. Of an arm with one seed
      (`n_seeds`) they cover the choice of cases alone, not the luck of its training.
    - `p` is the two-sided Wilcoxon signed-rank test (Biometrics Bulletin 1945) on the differences
      by case, cases without a difference left out; 1 where no case differs. It speaks of the
      trainings at hand: seeds are no part of it, so where the interval holds 0, believe the
      interval.
    - `p_holm` is `p` corrected by `holm` for the number of arms held against the reference.

    Any figure of `cases.csv` can be compared. Choose the cases first: false positives are to be
    read on healthy scans (`cases[cases.reference_volume_mm3 == 0]`). Rows of `lesions.csv`, with
    their column `instance`, are compared lesion by lesion: a lesion is averaged over seeds, means
    run over lesions, the bootstrap draws whole cases, and the test pairs the means of cases.

    Args:
        cases: A row for every arm, seed and case (and instance), in columns of these names, and the
            figure; NaN is undefined.
        figure: The column that is compared.
        reference: The arm that others are held against.
        bootstrap: Number of resamples.
        seed: Same seed, same intervals.

    Returns:
        A row an arm, in the table's order. Columns: arm; n_cases (or lesions) that the arm
        defines; n_undefined, those that it does not and another arm does, so that they are in no
        pair; n_seeds; mean, low, high; n_pairs; difference (arm less reference), difference_low,
        difference_high; p; p_holm. The reference's own n_pairs is 0, its difference and p NaN. An
        interval over less than two cases is NaN.

    Raises:
        UserError: The reference is no arm, a column is missing, a case comes twice, or arms (or
            seeds of one arm) were judged on different cases.

    Example:
        >>> cases = pd.DataFrame({"arm": ["supervised"] * 3 + ["mil"] * 3, "seed": 0,
        ...                       "case": [*"abc"] * 2, "dice": [0.2, 0.4, 0.6, 0.3, 0.6, 0.9]})
        >>> compare_arms(cases)[["arm", "mean", "difference", "p"]].round(2).values.tolist()
        [['supervised', 0.4, nan, nan], ['mil', 0.6, 0.2, 0.25]]
    """
    arms = read_arms(cases, figure)
    _require(reference, arms)
    rows = []
    for name, arm in arms.items():
        row = {"arm": name, **_alone(arm, bootstrap, seed), "n_pairs": 0}
        if name != reference:
            row |= _difference(*_paired(arm, arms[reference]), bootstrap, seed)
        rows.append(row)
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.assign(p_holm=holm(table["p"]))


def relative_reduction(
    cases: pd.DataFrame,
    *,
    figure: str = "fp_volume_mm3",
    reference: str = NO_HEALTHY,
    bootstrap: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Share of the reference's figure that an arm takes off, such as of its false positives.

        1 - mean(arm) / mean(reference)

    Both means run over the cases that both arms define, seeds averaged within a case first. It is
    a ratio of means and not a mean of ratios: scans on which the reference is silent have no ratio.
    Claim "at least 90 % less" where `low` is 0.9 or more.

    Args:
        cases: As in `compare_arms`; for false positives give it healthy scans alone.
        figure: A column of amounts, 0 or more.
        reference: The arm that others are held against.
        bootstrap: Number of resamples.
        seed: Same seed, same intervals.

    Returns:
        A row for every other arm: arm, n_pairs, n_seeds, reduction, low, high. 1 takes everything
        off, 0 nothing, and a negative share adds. NaN where the reference's mean is 0; resamples in
        which it is 0 are left out of the 95 % interval.

    Raises:
        UserError: As in `compare_arms`.

    Example:
        >>> cases = pd.DataFrame({"arm": ["old"] * 2 + ["new"] * 2, "seed": 0,
        ...                       "case": [*"ab"] * 2, "fp_volume_mm3": [300.0, 100.0, 0.0, 40.0]})
        >>> relative_reduction(cases, reference="old")[["arm", "reduction"]].values.tolist()
        [['new', 0.9]]
    """
    arms = read_arms(cases, figure)
    _require(reference, arms)
    rows = []
    for name in [name for name in arms if name != reference]:
        a, r = _paired(arms[name], arms[reference])
        ours, theirs = resampled_means([a, r], bootstrap=bootstrap, seed=seed)
        low, high = _interval(_share_off(ours, theirs), a)
        whole = _share_off(a.of_units().sum(keepdims=True), r.of_units().sum(keepdims=True))
        counts = {"arm": name, "n_pairs": len(a.case_of_unit), "n_seeds": len(a.seeds)}
        rows.append({**counts, "reduction": float(whole[0]), "low": low, "high": high})
    return pd.DataFrame(rows, columns=["arm", "n_pairs", "n_seeds", "reduction", "low", "high"])


def _require(reference: str, arms: dict[str, Arm]) -> None:
    if reference not in arms:
        msg = f"the reference arm {reference!r} is not among the arms: {', '.join(arms)}"
        raise UserError(f"{msg}; name one of these")


def _alone(arm: Arm, bootstrap: int, seed: int) -> dict[str, float]:
    own = arm.only(arm.defined())
    (means,) = resampled_means([own], bootstrap=bootstrap, seed=seed)
    n = len(own.case_of_unit)
    counts = {"n_cases": n, "n_undefined": len(arm.case_of_unit) - n, "n_seeds": len(arm.seeds)}
    mean = float(own.of_units().mean()) if n else math.nan
    return {
        **counts,
        "mean": mean,
        **dict(zip(("low", "high"), _interval(means, own), strict=True)),
    }


def _paired(arm: Arm, reference: Arm) -> tuple[Arm, Arm]:
    both = arm.defined() & reference.defined()
    return arm.only(both), reference.only(both)


def _difference(arm: Arm, reference: Arm, bootstrap: int, seed: int) -> dict[str, float]:
    n = len(arm.case_of_unit)
    ours, theirs = resampled_means([arm, reference], bootstrap=bootstrap, seed=seed)
    low, high = _interval(ours - theirs, arm)
    return {
        "n_pairs": n,
        "difference": float((arm.of_units() - reference.of_units()).mean()) if n else math.nan,
        "difference_low": low,
        "difference_high": high,
        "p": _wilcoxon(arm.of_cases() - reference.of_cases()),
    }


def _wilcoxon(differences: NDArray[np.float64]) -> float:
    """The p-value of the signed-rank test, NaN without a pair."""
    rounded = differences.round(9)  # or the rounding of averages would break ties between ranks
    nonzero = rounded[rounded != 0]
    if not len(nonzero):
        return 1.0 if len(differences) else math.nan
    return float(stats.wilcoxon(nonzero).pvalue)


def _share_off(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.divide(ours, theirs, out=np.full_like(ours, np.nan), where=theirs != 0)
    return np.asarray(1 - ratio)


def _interval(means: NDArray[np.float64], arm: Arm) -> tuple[float, float]:
    if arm.case_of_unit.max(initial=0) < 1 or np.isnan(means).all():
        return math.nan, math.nan
    low, high = np.nanquantile(means, (0.025, 0.975))
    return float(low), float(high)
