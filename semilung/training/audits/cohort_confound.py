"""Does the scanner tell which scans are healthy?"""

from __future__ import annotations

from collections.abc import Sequence

from semilung.data import AugmentConfig, DataConfig, PreparedCase
from semilung.training.audits.audit import Audit
from semilung.training.audits.nodule_free import Crops, choose_cases, draw_crops
from semilung.training.audits.probe import (
    AUC,
    auc_with_interval,
    grouped_scores,
    tells_anything,
)

TELLING = 0.75
"""From this area on the cohorts count as told apart, where the interval lies above chance."""

ADVICE = (
    "The net can learn the scanner instead of the nodule: match noise and blur of the cohorts, "
    "widen the augmentation of intensities (augment.weak_noise_hu, weak_contrast, weak_shift_hu), "
    "and judge false positives on nodule-free crops of the nodules' own cohort"
)

PLAIN = AugmentConfig(
    flips=False,
    quarter_turns=False,
    affine_probability=0.0,
    weak_shift_hu=0.0,
    weak_contrast=0.0,
    weak_noise_hu=0.0,
)
"""Crops as they are stored, within the window."""


def audit_cohort_confound(
    labelled: Sequence[PreparedCase],
    healthy: Sequence[PreparedCase],
    data: DataConfig,
    augment: AugmentConfig,
    *,
    seed: int,
) -> Audit:
    """Let a small probe tell healthy from labelled patients by lung that holds no nodule.

    `scanner_features` of crops go into a logistic regression, cross-validated by patient; a
    patient's mean score is one unit of the area under the curve. This is done for crops as they
    are stored and as the training's weak view shows them. The warning goes by the latter, for
    those are what the net learns from: area at least 0.75 and its interval above 0.5. A net may
    see more than this probe does.

    Args:
        labelled: Cases with masks, of training and validation.
        healthy: Cases of the healthy role.
        data: The training's window and sampling.
        augment: The training's augmentation.
        seed: Of the run.

    Raises:
        UserError: Volumes are too small, or cannot be read.
    """
    cases = choose_cases({"labelled": labelled, "healthy": healthy}, seed=seed)
    if not all(cases.values()):
        return Audit("not applicable", "the training has no healthy cases beside labelled ones")
    stored, seen = (draw_crops(cases, data, a, seed=seed) for a in (PLAIN, augment))
    for n_healthy, n_labelled in (stored.n_patients(), seen.n_patients()):
        if not tells_anything(n_healthy, n_labelled):
            summary = (
                f"{n_healthy} healthy and {n_labelled} labelled patients have crops of lung "
                "without a nodule: too few to judge a probe on patients that it has not seen"
            )
            return Audit("not applicable", summary)
    return confound_finding(_judge(stored, seed), _judge(seen, seed), stored.n_patients())


def _judge(crops: Crops, seed: int) -> AUC:
    scores = grouped_scores(crops.features, crops.healthy, crops.patients, seed=seed)
    return auc_with_interval(*scores)


def confound_finding(stored: AUC, seen: AUC, patients: tuple[int, int]) -> Audit:
    """What the two areas mean: of crops as stored, and as the training sees them.

    Args:
        stored: Area of crops as they are stored.
        seen: Area of augmented crops, by which the warning goes.
        patients: How many healthy and labelled ones.
    """
    summary = (
        "Noise, sharpness and intensity of lung without nodules tell healthy from labelled "
        f"patients with an AUC of {_shown(stored)} as stored and {_shown(seen)} as the training "
        f"augments them ({patients[0]} healthy and {patients[1]} labelled patients)"
    )
    figures = {
        **{f"auc_{name}": value for name, value in stored._asdict().items()},
        **{f"augmented_auc_{name}": value for name, value in seen._asdict().items()},
        "healthy_patients": patients[0],
        "labelled_patients": patients[1],
    }
    telling = seen.value >= TELLING and seen.low > 0.5
    return Audit("warning" if telling else "ok", summary, ADVICE if telling else "", figures)


def _shown(auc: AUC) -> str:
    return f"{auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f})"
