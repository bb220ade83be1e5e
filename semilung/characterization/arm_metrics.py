"""AUC of each arm and its difference from size, overall and by size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.characterization.auc_intervals import (
    bootstrap_p,
    concordance,
    delong,
    foldwise_auc,
    patient_weights,
    percentile_interval,
    resampled_aucs,
)
from semilung.characterization.characterization_settings import CharacterizationSettings
from semilung.characterization.feature_models import Values
from semilung.characterization.nested_cv import SIZE
from semilung.characterization.out_of_fold import OutOfFold
from semilung.evaluation.calibration import calibration
from semilung.evaluation.intervals import holm
from semilung.evaluation.lesion_sizes import by_size

COLUMNS = [
    *("population", "arm", "n", "positives", "negatives", "patients"),
    *("auc", "low", "high", "delong_low", "delong_high", "auc_folds"),
    *("difference", "difference_low", "difference_high", "p", "p_holm", "brier", "ece"),
]


def metrics_table(results: OutOfFold, settings: CharacterizationSettings) -> pd.DataFrame:
    """Return the metrics of each arm in all nodules and in each bin of diameters.

    Returns:
        Columns `population, arm, n, positives, negatives, patients`; `auc`, the mean over repeats
        of the AUC of all scores of a repeat, with DeLong's interval `delong_low, delong_high` and
        that of the bootstrap of patients `low, high`; `auc_folds`, the mean of the folds' own AUCs;
        `difference` from the arm `size` with `difference_low, difference_high, p` of the same
        resamples, and `p_holm` for the number of arms; `brier` and `ece`, means over repeats. NaN
        where undefined; intervals where a class has fewer than two patients.
    """
    rows = []
    for population, nodules in by_size(results.nodules, settings.bins_mm()).items():
        members = np.isin(np.arange(len(results.nodules)), nodules.index)
        rows += _rows(results, members, settings, population)
    return pd.DataFrame(rows, columns=COLUMNS)


def with_labels(
    results: OutOfFold, labels: pd.DataFrame, settings: CharacterizationSettings
) -> pd.DataFrame:
    """Return the metrics of the nodules that have other labels, with these.

    Args:
        results: Scores.
        labels: `case, nodule, label`; nodules without scores are left out.
        settings: Of the study.
    """
    nodules = results.nodules.drop(columns="label").merge(
        labels, on=["case", "nodule"], how="left", validate="one_to_one"
    )
    members = nodules["label"].notna().to_numpy()
    relabelled = OutOfFold(nodules, results.folds, results.scores, results.thresholds)
    return pd.DataFrame(_rows(relabelled, members, settings, "external"), columns=COLUMNS)


def _rows(
    results: OutOfFold,
    members: NDArray[np.bool_],
    settings: CharacterizationSettings,
    population: str,
) -> list[dict[str, Any]]:
    nodules = results.nodules[members]
    positive = results.positive[members]
    patients = [nodules.loc[side, "patient"].nunique() for side in (positive, ~positive)]
    counts = {
        "population": population,
        "n": len(nodules),
        "positives": int(positive.sum()),
        "negatives": int((~positive).sum()),
        "patients": nodules["patient"].nunique(),
    }
    has_interval = min(patients) >= 2
    pairs = {arm: concordance(s[:, members], positive) for arm, s in results.scores.items()}
    resampled = {arm: np.full(1, np.nan) for arm in pairs}
    if has_interval:
        weights = patient_weights(nodules["patient"].tolist(), settings.bootstraps, settings.seed)
        resampled = {arm: resampled_aucs(k, positive, weights) for arm, k in pairs.items()}
    size = delong(pairs[SIZE])
    rows = []
    for arm, of_all in results.scores.items():
        scores, interval = of_all[:, members], delong(pairs[arm])
        low, high = percentile_interval(resampled[arm])
        brier, ece = _calibration(scores, positive)
        row: dict[str, Any] = {"arm": arm, **counts, "auc": interval.auc, "low": low, "high": high}
        if has_interval:
            row |= {"delong_low": interval.low, "delong_high": interval.high}
        row["auc_folds"] = foldwise_auc(scores, results.folds[:, members], positive)
        row |= _difference(arm, interval.auc - size.auc, resampled)
        rows.append({**row, "brier": brier, "ece": ece})
    adjusted = holm([row["p"] for row in rows])
    return [{**row, "p_holm": value} for row, value in zip(rows, adjusted.tolist(), strict=True)]


def _difference(arm: str, difference: float, resampled: Mapping[str, Values]) -> dict[str, float]:
    names = ("difference", "difference_low", "difference_high", "p")
    if arm == SIZE:
        return dict.fromkeys(names, math.nan)
    differences = resampled[arm] - resampled[SIZE]
    interval = percentile_interval(differences)
    return dict(zip(names, (difference, *interval, bootstrap_p(differences)), strict=True))


def _calibration(scores: Values, positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Return Brier score and expected calibration error, means over repeats."""
    reference = positive.astype(np.uint8)[None, None]
    if not len(positive):
        return math.nan, math.nan
    values = [calibration(row[None, None], reference) for row in scores]
    return (
        float(np.mean([value.brier for value in values])),
        float(np.mean([value.ece for value in values])),
    )
