"""Audit of a confound: can healthy scans be recognised by their scanner?"""

from __future__ import annotations

from collections.abc import Sequence

from semilung.data import AugmentConfig, DataConfig, PreparedCase
from semilung.training.audits.audit import Audit
from semilung.training.audits.nodule_free import Crops, choose_cases, draw_crops
from semilung.training.audits.probe import (
    AUC,
    auc_with_interval,
    can_separate,
    grouped_scores,
)

SEPARABLE = 0.75
"""AUC from which the cohorts count as separable, where the interval lies above chance."""

ADVICE = (
    "The net can learn the scanner instead of the nodule: match noise and blur of the cohorts, "
    "widen the augmentation of intensities (augment.weak_noise_hu, weak_contrast, weak_shift_hu), "
    "and evaluate false positives on nodule-free crops of the nodules' own cohort"
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
    """Let a small probe separate healthy from labelled patients by lung without nodules.

    `scanner_features` of crops go into a logistic regression, cross-validated by patient; a
    patient's mean score is one unit of the area under the curve. This is done for crops as they
    are stored and as the training's weak view shows them. The latter decides on the warning, since
    the net learns from them: area at least 0.75 and its interval above 0.5. A net may
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
        return Audit("not applicable", "the training has no healthy cases next to labelled ones")
    stored, augmented = (draw_crops(cases, data, a, seed=seed) for a in (PLAIN, augment))
    for n_healthy, n_labelled in (stored.n_patients(), augmented.n_patients()):
        if not can_separate(n_healthy, n_labelled):
            summary = (
                f"{n_healthy} healthy and {n_labelled} labelled patients have crops of lung "
                "without a nodule: too few to test a probe on patients outside its fit"
            )
            return Audit("not applicable", summary)
    return confound_finding(_auc(stored, seed), _auc(augmented, seed), stored.n_patients())


def _auc(crops: Crops, seed: int) -> AUC:
    scores = grouped_scores(crops.features, crops.healthy, crops.patients, seed=seed)
    return auc_with_interval(*scores)


def confound_finding(stored: AUC, augmented: AUC, patients: tuple[int, int]) -> Audit:
    """Return the finding of two AUCs: of crops as stored, and as the training augments them.

    Args:
        stored: Area of crops as they are stored.
        augmented: Area of augmented crops, which decides on the warning.
        patients: How many healthy and labelled ones.
    """
    summary = (
        "Noise, sharpness and intensity of lung without nodules separate healthy from labelled "
        f"patients with an AUC of {_shown(stored)} as stored and {_shown(augmented)} as the "
        f"training augments them ({patients[0]} healthy and {patients[1]} labelled patients)"
    )
    metrics = {
        **{f"auc_{name}": value for name, value in stored._asdict().items()},
        **{f"augmented_auc_{name}": value for name, value in augmented._asdict().items()},
        "healthy_patients": patients[0],
        "labelled_patients": patients[1],
    }
    separable = augmented.value >= SEPARABLE and augmented.low > 0.5
    return Audit("warning" if separable else "ok", summary, ADVICE if separable else "", metrics)


def _shown(auc: AUC) -> str:
    return f"{auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f})"
