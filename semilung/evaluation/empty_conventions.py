"""Empty masks as other toolkits score them: for comparison with their figures, not for use."""

from __future__ import annotations

import difflib
from math import nan
from typing import NamedTuple

import pandas as pd

from semilung.types import UserError


class EmptyScores(NamedTuple):
    """A figure's value where both masks are empty, the reference alone, the prediction alone."""

    both: float
    reference: float
    prediction: float


EMPTY_POLICIES: dict[str, dict[str, EmptyScores]] = {
    "semilung": {
        "dice": EmptyScores(both=nan, reference=nan, prediction=0),
        "hd95_mm": EmptyScores(both=nan, reference=nan, prediction=nan),
        "surface_dice_2mm": EmptyScores(both=nan, reference=nan, prediction=0),
    },
    "nnunet": {
        "dice": EmptyScores(both=nan, reference=0, prediction=0),
    },
    "monai": {
        "dice": EmptyScores(both=nan, reference=nan, prediction=0),
        "hd95_mm": EmptyScores(both=nan, reference=nan, prediction=nan),
        "surface_dice_2mm": EmptyScores(both=nan, reference=0, prediction=0),
    },
    "pymic": {
        "dice": EmptyScores(both=1, reference=0, prediction=0),
        "hd95_mm": EmptyScores(both=0, reference=100, prediction=100),
    },
}
"""By convention, the figures that its toolkit computes and what it makes of empty masks."""


def apply_empty_policy(cases: pd.DataFrame, policy: str) -> pd.DataFrame:
    """Score the empty masks of `cases.csv` as another toolkit does.

    `cases.csv` itself always keeps our own policy: NaN where the reference is empty, so that such
    scans are judged by their false positives (`docs/decisions/0003-empty-masks.md`). Others:

    - `nnunet` (nnU-Net v2, `evaluate_predictions.py`): Dice is 2TP / (2TP + FP + FN), NaN where
      that is 0 / 0, and the mean leaves NaN out. One false voxel on a healthy scan is Dice 0.
    - `monai` (1.6; `DiceMetric`, `HausdorffDistanceMetric(percentile=95)`, `SurfaceDiceMetric` by
      their defaults): Dice and HD95 are NaN where the reference is empty, and left out: false
      positives on healthy scans cost nothing. Surface Dice is 0 there.
    - `pymic` (0.5, `evaluation_seg.py`): Dice is (2TP + ε) / (2TP + FP + FN + ε), ε = 1e-5 voxels,
      so silence on a healthy scan is Dice 1; HD95 is 0 where both are empty and 100 where one is.
      What ε adds elsewhere, less than 1e-5, is left out.

    Figures that a toolkit does not compute stay as they are. Each averages over all scans, those
    without lesions included, as the group `all scans` of `summarise` does.

    Args:
        cases: Rows of `cases.csv`: dice, hd95_mm, surface_dice_2mm, reference_volume_mm3 and
            predicted_volume_mm3 are read.
        policy: `semilung`, `nnunet`, `monai` or `pymic`.

    Returns:
        A copy with the figures rewritten where a mask is empty.

    Raises:
        UserError: There is no such policy.

    Example:
        >>> cases = pd.DataFrame({"dice": [0.8, nan, nan], "hd95_mm": [3.0, nan, nan],
        ...     "reference_volume_mm3": [50.0, 0, 0], "predicted_volume_mm3": [60.0, 0, 9]})
        >>> apply_empty_policy(cases, "nnunet")["dice"].tolist()
        [0.8, nan, 0.0]
        >>> apply_empty_policy(cases, "pymic")["dice"].tolist()
        [0.8, 1.0, 0.0]
    """
    require_policy(policy)
    reference_mm3, silent = cases["reference_volume_mm3"], cases["predicted_volume_mm3"] == 0
    scored = cases.copy()
    for figure, scores in EMPTY_POLICIES[policy].items():
        if figure in scored:
            scored.loc[(reference_mm3 == 0) & silent, figure] = scores.both
            scored.loc[(reference_mm3 == 0) & ~silent, figure] = scores.reference
            scored.loc[(reference_mm3 > 0) & silent, figure] = scores.prediction
    return scored


def require_policy(policy: str) -> None:
    """Refuse what is no name of a policy.

    Raises:
        UserError: It is none.
    """
    if policy not in list(EMPTY_POLICIES):  # a config may hold what cannot be hashed
        near = difflib.get_close_matches(str(policy), EMPTY_POLICIES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        msg = f"evaluation.empty is one of {', '.join(EMPTY_POLICIES)}; got {policy!r}{hint}"
        raise UserError(msg)
