"""Choice of the probability threshold on validation cases."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from semilung.data.cache.prepared_case import PreparedCase
from semilung.evaluation.case_evaluation import read_reference
from semilung.evaluation.false_positive_metrics import false_positives
from semilung.evaluation.segmentation import dice
from semilung.inference import Predictor
from semilung.types import IGNORE, UserError

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Between neighbours Dice changes by less than the uncertainty of its mean over few cases."""

MARGIN = 0.01
"""Dice traded for fewer false positives: less than its variation between cases or seeds."""

_HEALTHY = "healthy_fp_volume_mm3"


def threshold_table(predictor: Predictor, cases: Sequence[PreparedCase]) -> pd.DataFrame:
    """Return mean Dice and healthy false-positive volume at each of `THRESHOLDS`.

    Args:
        predictor: Nets, window and smallest component; its threshold is not used.
        cases: Of role `labelled` or `healthy`, not used in training.

    Returns:
        Columns threshold; dice, over the cases with a nodule; healthy_fp_volume_mm3 per case, over
        those without (NaN if there is none).

    Raises:
        UserError: No case has a nodule, so that Dice is undefined.
    """
    rows = []
    for prepared in cases:
        spacing_mm = prepared.spacing_mm
        probability = predictor.probability(prepared)
        reference = read_reference(prepared)
        positive = bool(((reference > 0) & (reference != IGNORE)).any())
        if not positive and (reference == IGNORE).any():
            continue  # whether it has a nodule is unknown
        for threshold in THRESHOLDS:
            mask = predictor.at_threshold(threshold).decode(probability, spacing_mm)
            metric = (
                {"dice": dice(mask, reference)}
                if positive
                else {_HEALTHY: false_positives(mask, spacing_mm, reference).volume_mm3}
            )
            rows.append({"threshold": threshold, **metric})
    table = pd.DataFrame(rows, columns=["threshold", "dice", _HEALTHY])
    if table["dice"].isna().all():
        msg = (
            "no validation case has a nodule, so that no threshold can be chosen on them; give a "
            "number instead, as in evaluate --threshold 0.5"
        )
        raise UserError(msg)
    return table.groupby("threshold", as_index=False).mean()


def choose_threshold(table: pd.DataFrame) -> float:
    """Return the highest threshold whose mean Dice is within `MARGIN` of the maximum.

    Mean Dice is flat around its maximum, whose position depends on a few cases, while false
    positives decrease with the threshold. The highest of the nearly equivalent thresholds therefore
    has the fewest false positives.

    Args:
        table: As returned by `threshold_table`.

    Example:
        >>> table = {"threshold": [0.3, 0.5, 0.7, 0.9], "dice": [0.4, 0.61, 0.602, 0.3]}
        >>> choose_threshold(pd.DataFrame(table))
        0.7
    """
    near_best = table["dice"] >= table["dice"].max() - MARGIN
    return float(table.loc[near_best, "threshold"].max())
