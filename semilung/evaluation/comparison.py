"""Paired comparison of arms over cases, with seeds averaged within a case."""

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
    metric: str = "dice",
    reference: str = BASELINE,
    bootstrap: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the mean of each arm, and its paired difference from a reference arm.

    A metric is averaged over the seeds that define it in a case, then over cases. Differences are
    taken per case, over the cases that both arms define.

    - `low` to `high` and `difference_low` to `difference_high` are 95 % percentile intervals of the
      hierarchical bootstrap over seeds and cases, `resampled_means`. For an arm with one seed
      (`n_seeds`) they include the variation between cases only, not that between trainings.
    - `p` is the two-sided Wilcoxon signed-rank test (Biometrics Bulletin 1945) on the differences
      per case, zero differences excluded; 1 if no case differs. It treats the seeds as fixed, so
      prefer the interval where the two disagree.
    - `p_holm` is `p` after `holm` correction for the number of arms compared with the reference.

    Any metric of `cases.csv` can be compared. Select the cases first: false positives are
    meaningful on healthy scans (`cases[cases.reference_volume_mm3 == 0]`). Rows of `lesions.csv`,
    with their column `instance`, are compared lesion by lesion: a lesion is averaged over seeds,
    means run over lesions, the bootstrap draws whole cases, and the test pairs means of cases.

    Args:
        cases: One row per arm, seed and case (and instance), in columns of these names, and the
            metric; NaN is undefined.
        metric: Name of the column to compare.
        reference: Arm that the others are compared with.
        bootstrap: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        One row per arm, in the table's order. Columns: arm; n_cases, the number of cases (or
        lesions) that the arm defines; n_undefined, of those that only other arms define, which are
        in no pair; n_seeds; mean, low, high; n_pairs; difference (arm minus reference),
        difference_low, difference_high; p; p_holm. For the reference, n_pairs is 0 and difference
        and p are NaN. An interval over fewer than two cases is NaN.

    Raises:
        UserError: There is no such reference arm, a column is missing, a case occurs twice, or arms
            (or seeds of one arm) were evaluated on different cases.

    Example:
        >>> cases = pd.DataFrame({"arm": ["supervised"] * 3 + ["mil"] * 3, "seed": 0,
        ...                       "case": [*"abc"] * 2, "dice": [0.2, 0.4, 0.6, 0.3, 0.6, 0.9]})
        >>> compare_arms(cases)[["arm", "mean", "difference", "p"]].round(2).values.tolist()
        [['supervised', 0.4, nan, nan], ['mil', 0.6, 0.2, 0.25]]
    """
    arms = read_arms(cases, metric)
    _require_arm(reference, arms)
    rows = []
    for name, arm in arms.items():
        row = {"arm": name, **_summary(arm, bootstrap, seed), "n_pairs": 0}
        if name != reference:
            row |= _difference(*_paired(arm, arms[reference]), bootstrap, seed)
        rows.append(row)
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.assign(p_holm=holm(table["p"]))


def relative_reduction(
    cases: pd.DataFrame,
    *,
    metric: str = "fp_volume_mm3",
    reference: str = NO_HEALTHY,
    bootstrap: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the relative reduction of a metric with respect to a reference arm.

        1 - mean(arm) / mean(reference)

    Both means run over the cases that both arms define, with seeds averaged within a case first.
    It is a ratio of means rather than a mean of ratios, which is undefined on scans without false
    positives in the reference arm. A reduction of at least 90 % is supported if `low` >= 0.9.

    Args:
        cases: As in `compare_arms`; for false positives healthy scans only.
        metric: Name of a column of values >= 0.
        reference: Arm that the others are compared with.
        bootstrap: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        One row per arm but the reference: arm, n_pairs, n_seeds, reduction, low, high. 1 is
        complete removal, 0 no change, and below 0 an increase. NaN where the reference's mean is 0;
        resamples in which it is 0 are excluded from the 95 % interval.

    Raises:
        UserError: As in `compare_arms`.

    Example:
        >>> cases = pd.DataFrame({"arm": ["old"] * 2 + ["new"] * 2, "seed": 0,
        ...                       "case": [*"ab"] * 2, "fp_volume_mm3": [300.0, 100.0, 0.0, 40.0]})
        >>> relative_reduction(cases, reference="old")[["arm", "reduction"]].values.tolist()
        [['new', 0.9]]
    """
    arms = read_arms(cases, metric)
    _require_arm(reference, arms)
    rows = []
    for name in [name for name in arms if name != reference]:
        a, r = _paired(arms[name], arms[reference])
        arm_means, reference_means = resampled_means([a, r], bootstrap=bootstrap, seed=seed)
        low, high = _interval(_reduction(arm_means, reference_means), a)
        total = _reduction(a.unit_means().sum(keepdims=True), r.unit_means().sum(keepdims=True))
        counts = {"arm": name, "n_pairs": len(a.case_of_unit), "n_seeds": len(a.seeds)}
        rows.append({**counts, "reduction": float(total[0]), "low": low, "high": high})
    return pd.DataFrame(rows, columns=["arm", "n_pairs", "n_seeds", "reduction", "low", "high"])


def _require_arm(reference: str, arms: dict[str, Arm]) -> None:
    if reference not in arms:
        msg = (
            f"the reference arm {reference!r} is not among the arms: {', '.join(arms)}; name one "
            f"of these"
        )
        raise UserError(msg)


def _summary(arm: Arm, bootstrap: int, seed: int) -> dict[str, float]:
    defined = arm.subset(arm.defined())
    (means,) = resampled_means([defined], bootstrap=bootstrap, seed=seed)
    n = len(defined.case_of_unit)
    low, high = _interval(means, defined)
    return {
        "n_cases": n,
        "n_undefined": len(arm.case_of_unit) - n,
        "n_seeds": len(arm.seeds),
        "mean": float(defined.unit_means().mean()) if n else math.nan,
        "low": low,
        "high": high,
    }


def _paired(arm: Arm, reference: Arm) -> tuple[Arm, Arm]:
    both = arm.defined() & reference.defined()
    return arm.subset(both), reference.subset(both)


def _difference(arm: Arm, reference: Arm, bootstrap: int, seed: int) -> dict[str, float]:
    n = len(arm.case_of_unit)
    arm_means, reference_means = resampled_means([arm, reference], bootstrap=bootstrap, seed=seed)
    low, high = _interval(arm_means - reference_means, arm)
    return {
        "n_pairs": n,
        "difference": float((arm.unit_means() - reference.unit_means()).mean()) if n else math.nan,
        "difference_low": low,
        "difference_high": high,
        "p": _wilcoxon(arm.case_means() - reference.case_means()),
    }


def _wilcoxon(differences: NDArray[np.float64]) -> float:
    """Return the p-value of the signed-rank test, NaN without a pair."""
    rounded = differences.round(9)  # rounding errors of averages would break ties between ranks
    nonzero = rounded[rounded != 0]
    if not len(nonzero):
        return 1.0 if len(differences) else math.nan
    return float(stats.wilcoxon(nonzero).pvalue)


def _reduction(arm: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.divide(arm, reference, out=np.full_like(arm, np.nan), where=reference != 0)
    return np.asarray(1 - ratio)


def _interval(means: NDArray[np.float64], arm: Arm) -> tuple[float, float]:
    if arm.case_of_unit.max(initial=0) < 1 or np.isnan(means).all():
        return math.nan, math.nan
    low, high = np.nanquantile(means, (0.025, 0.975))
    return float(low), float(high)
