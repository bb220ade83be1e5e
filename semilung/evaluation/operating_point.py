"""The threshold of a segmenter, chosen on cases that its figures are not reported on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from torch import nn

from semilung.data.cache.prepared_case import PreparedCase
from semilung.evaluation.case_evaluation import read_reference
from semilung.evaluation.false_positive_metrics import false_positives
from semilung.evaluation.segmentation import dice
from semilung.inference import InferenceConfig, cut, probability_map
from semilung.types import IGNORE, UserError

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Fine enough: between neighbours Dice moves by less than a choice among few cases can tell."""

MARGIN = 0.01
"""Dice that is given away for fewer false positives: less than cases or seeds can tell."""

_HEALTHY = "healthy_fp_volume_mm3"


def threshold_table(
    model: nn.Module | Sequence[nn.Module],
    cases: Sequence[PreparedCase],
    *,
    window_hu: tuple[float, float],
    config: InferenceConfig,
) -> pd.DataFrame:
    """Mean figures of cases at every one of `THRESHOLDS`.

    Args:
        model: One model, or several whose probabilities are averaged; see `predict_probability`.
        cases: Of role `labelled` or `healthy`, which the model has not trained on.
        window_hu: HU scaled to 0 and 1.
        config: Sliding window and smallest component; its own threshold is not used.

    Returns:
        Columns threshold; dice, over the cases that hold a nodule; healthy_fp_volume_mm3 a case,
        over those that hold none (NaN where there is no such case).

    Raises:
        UserError: No case holds a nodule, so no threshold is better than another.
    """
    rows = []
    for prepared in cases:
        hu, spacing_mm = prepared.read("image"), prepared.spacing_mm
        probability = probability_map(model, hu, config, window_hu=window_hu, lungs=prepared.lungs)
        reference = read_reference(prepared)
        holds = bool(((reference > 0) & (reference != IGNORE)).any())
        if not holds and (reference == IGNORE).any():
            continue  # neither a case with a nodule nor one without
        for threshold in THRESHOLDS:
            mask = cut(probability, replace(config, threshold=threshold), spacing_mm=spacing_mm)
            figure = (
                {"dice": dice(mask, reference)}
                if holds
                else {_HEALTHY: false_positives(mask, spacing_mm, reference).volume_mm3}
            )
            rows.append({"threshold": threshold, **figure})
    table = pd.DataFrame(rows, columns=["threshold", "dice", _HEALTHY])
    if table["dice"].isna().all():
        msg = "no validation case holds a nodule, so no threshold can be chosen on them"
        raise UserError(f"{msg}; give evaluate a number instead, --threshold 0.5")
    return table.groupby("threshold", as_index=False).mean()


def choose_threshold(table: pd.DataFrame) -> float:
    """The highest threshold whose mean Dice is within `MARGIN` of the best.

    Dice is flat around its top, where a handful of cases decides, while false positives go on
    falling. So of the thresholds that are as good for all purposes the one is taken that marks the
    least.

    Args:
        table: As `threshold_table` returns it.

    Example:
        >>> table = {"threshold": [0.3, 0.5, 0.7, 0.9], "dice": [0.4, 0.61, 0.602, 0.3]}
        >>> choose_threshold(pd.DataFrame(table))
        0.7
    """
    as_good = table["dice"] >= table["dice"].max() - MARGIN
    return float(table.loc[as_good, "threshold"].max())
