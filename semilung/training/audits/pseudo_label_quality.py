"""Audit of the labels that a run would give to unlabelled scans."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.data import PreparedCase
from semilung.evaluation import dice, false_positives
from semilung.inference import Predictor
from semilung.training.audits.audit import Audit
from semilung.types import IGNORE

CONFIDENT = 0.9
"""Probability of the likelier side from which a voxel counts as sure."""

MOST_SCANS, MOST_VOXELS = 8, 16_000_000
"""Bounds of the audit, since it predicts every scan; one scan is always predicted."""

COLLAPSE = 10.0
"""Foreground this many times rarer, or commoner, than in labelled masks is a collapse."""

LEAST_DICE = 0.3
"""Below it against hidden masks, pseudo-labels are mostly wrong."""

LEAST_AGREEMENT = 0.5
"""Below it between the two nets, pseudo-labels still move."""


class _Scan(NamedTuple):
    confident_share: float
    confident_foreground_share: float
    foreground_share: float
    components: float
    agreement: float
    hidden_dice: float


def choose_scans(items: Sequence[PreparedCase], *, seed: int) -> list[PreparedCase]:
    """Some cases by seed, within the bounds of number and voxels, at least one if there is one."""
    chosen: list[PreparedCase] = []
    room = MOST_VOXELS
    for i in np.random.default_rng(seed).permutation(len(items)).tolist():
        room -= math.prod(items[i].shape)
        if chosen and (len(chosen) == MOST_SCANS or room < 0):
            break
        chosen.append(items[i])
    return chosen


def audit_pseudo_labels(
    predictor: Predictor,
    other: Predictor | None,
    unlabelled: Sequence[PreparedCase],
    labelled: Sequence[PreparedCase],
) -> Audit:
    """Predict unlabelled training scans, and assess the labels.

    Means over scans: the share of voxels that are sure (`max(p, 1 - p) >= 0.9`) and of foreground
    that is; the share of foreground, next to that of labelled masks; components; `agreement`, the
    Dice of the predictor with the run's other net; and `hidden_dice`, the Dice with the masks that
    were hidden in training.

    Args:
        predictor: Of the run.
        other: The student of a teacher, or an earlier checkpoint; None where there is neither.
        unlabelled: Unlabelled training cases, some of them; one with a mask is compared with it, so
            pass hidden masks only after training has ended.
        labelled: Training cases with masks.

    Raises:
        UserError: A volume cannot be read.
    """
    if not unlabelled:
        return Audit("not applicable", "The training has no unlabelled scans in the cache")
    scans = [_look(predictor, other, item) for item in unlabelled]
    means = {name: _mean([getattr(s, name) for s in scans]) for name in _Scan._fields}
    reference_share = _mean(
        [_foreground_share(c.read("mask")) for c in labelled if "mask" in c.files]
    )
    metrics = {**means, "labelled_foreground_share": reference_share, "scans": float(len(scans))}
    metrics = {name: value for name, value in metrics.items() if not math.isnan(value)}
    problems = _problems(metrics)
    advice = ". ".join(problems.values())
    summary = _summary(metrics) + "".join(f"; {problem}" for problem in problems)
    return Audit("warning" if problems else "ok", summary, advice, metrics)


def _problems(metrics: dict[str, float]) -> dict[str, str]:
    """Return each problem and its remedy."""
    share, expected = metrics["foreground_share"], metrics.get("labelled_foreground_share", 0.0)
    problems = {}
    if share * COLLAPSE < expected:
        problems["the labels have collapsed to background"] = (
            "Lower the strategy's weight or thresholds, lengthen its ramp, and check whether the "
            "healthy weight silences the net"
        )
    if expected and share > expected * COLLAPSE:
        problems["the labels flood"] = (
            "Raise the confidence threshold of the strategy, or begin it later"
        )
    if metrics.get("hidden_dice", 1.0) < LEAST_DICE:
        problems["the labels are mostly wrong"] = (
            "Do not train on them unfiltered; label more scans, or strengthen the supervised run"
        )
    if metrics.get("agreement", 1.0) < LEAST_AGREEMENT:
        problems["they still move"] = "Train longer, or raise teacher_decay"
    return problems


def _summary(metrics: dict[str, float]) -> str:
    parts = [
        f"On {metrics['scans']:.0f} unlabelled scans {metrics['confident_share']:.1%} of the voxels"
        f" are sure, {metrics['foreground_share']:.2%} are foreground",
        f"{metrics['components']:.1f} components a scan",
    ]
    if "labelled_foreground_share" in metrics:
        parts[0] += f" ({metrics['labelled_foreground_share']:.2%} in labelled masks)"
    if "agreement" in metrics:
        parts.append(f"Dice {metrics['agreement']:.2f} between the run's two nets")
    if "hidden_dice" in metrics:
        parts.append(f"Dice {metrics['hidden_dice']:.2f} against hidden masks")
    return ", ".join(parts)


def _look(predictor: Predictor, other: Predictor | None, item: PreparedCase) -> _Scan:
    p = predictor.probability(item)
    mask = predictor.decode(p, item.spacing_mm)
    sure = np.maximum(p, 1 - p) >= CONFIDENT
    return _Scan(
        float(sure.mean()),
        float(sure[mask > 0].mean()) if mask.any() else math.nan,
        float(mask.mean()),
        false_positives(mask, item.spacing_mm).components,
        math.nan if other is None else _agreement(mask, other.segment(item)),
        dice(mask, item.read("mask")) if "mask" in item.files else math.nan,
    )


def _agreement(mask: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Dice of two predictions, neither of which is the truth; NaN where both are empty."""
    return dice(mask, other) if other.any() or not mask.any() else 0.0


def _foreground_share(mask: NDArray[np.uint8]) -> float:
    return float(((mask > 0) & (mask != IGNORE)).mean())


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
