"""Scores of empty masks in other toolkits, for comparison with their published metrics."""

from __future__ import annotations

import difflib

import pandas as pd

from semilung.evaluation.metrics import SEGMENTATION, EmptyScores
from semilung.types import UserError

EMPTY_POLICIES: dict[str, dict[str, EmptyScores]] = {
    policy: {
        metric.column: metric.empty[policy]
        for metric in sorted(SEGMENTATION, key=lambda metric: metric.column)
        if policy in metric.empty
    }
    for policy in dict.fromkeys(policy for metric in SEGMENTATION for policy in metric.empty)
}
"""Toolkit to the metrics that it computes and their values for empty masks."""


def apply_empty_policy(cases: pd.DataFrame, policy: str) -> pd.DataFrame:
    """Return `cases.csv` with empty masks scored as in another toolkit.

    `cases.csv` itself always follows the policy `semilung`: NaN where the reference is empty, and
    false positives evaluate such scans (`docs/decisions/0003-empty-masks.md`). The others:

    - `nnunet` (nnU-Net v2, `evaluate_predictions.py`): Dice is 2TP / (2TP + FP + FN), NaN where
      that is 0 / 0, and the mean ignores NaN. One false voxel on a healthy scan gives Dice 0.
    - `monai` (1.6; `DiceMetric`, `HausdorffDistanceMetric(percentile=95)`, `SurfaceDiceMetric` with
      default arguments): Dice and HD95 are NaN where the reference is empty, and ignored: false
      positives on healthy scans have no effect. Surface Dice is 0 there.
    - `pymic` (0.5, `evaluation_seg.py`): Dice is (2TP + ε) / (2TP + FP + FN + ε), ε = 1e-5 voxels,
      so an empty prediction on a healthy scan gives Dice 1; HD95 is 0 if both masks are empty and
      100 if one is. The effect of ε elsewhere, less than 1e-5, is neglected.

    Metrics that a toolkit does not compute are unchanged. Each toolkit averages over all scans,
    including those without lesions, as the group `all scans` of `summarise` does.

    Args:
        cases: Rows of `cases.csv` with dice, hd95_mm, surface_dice_2mm, reference_volume_mm3 and
            predicted_volume_mm3.
        policy: `semilung`, `nnunet`, `monai` or `pymic`.

    Returns:
        A copy with the metrics replaced where a mask is empty.

    Raises:
        UserError: There is no such policy.

    Example:
        >>> from math import nan
        >>> cases = pd.DataFrame({"dice": [0.8, nan, nan], "hd95_mm": [3.0, nan, nan],
        ...     "reference_volume_mm3": [50.0, 0, 0], "predicted_volume_mm3": [60.0, 0, 9]})
        >>> apply_empty_policy(cases, "nnunet")["dice"].tolist()
        [0.8, nan, 0.0]
        >>> apply_empty_policy(cases, "pymic")["dice"].tolist()
        [0.8, 1.0, 0.0]
    """
    require_policy(policy)
    if not {"reference_volume_mm3", "predicted_volume_mm3"} <= set(cases):  # no masks
        return cases.copy()
    reference_mm3, silent = cases["reference_volume_mm3"], cases["predicted_volume_mm3"] == 0
    scored = cases.copy()
    for metric, scores in EMPTY_POLICIES[policy].items():
        if metric in scored:
            scored.loc[(reference_mm3 == 0) & silent, metric] = scores.both
            scored.loc[(reference_mm3 == 0) & ~silent, metric] = scores.reference
            scored.loc[(reference_mm3 > 0) & silent, metric] = scores.prediction
    return scored


def require_policy(policy: str) -> None:
    """Raise UserError unless `policy` is a key of `EMPTY_POLICIES`."""
    if policy not in list(EMPTY_POLICIES):  # a value from a config may not be hashable
        near = difflib.get_close_matches(str(policy), EMPTY_POLICIES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        msg = f"evaluation.empty must be one of {', '.join(EMPTY_POLICIES)}; got {policy!r}{hint}"
        raise UserError(msg)
