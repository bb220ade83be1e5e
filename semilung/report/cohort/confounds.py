"""Likely confounds: what else than nodules distinguishes healthy scans from the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semilung.report.cohort.scan_survey import ScanSurvey
from semilung.training.audits.cohort_confound import ADVICE, SEPARABLE
from semilung.training.audits.probe import (
    AUC,
    FEATURES,
    auc_with_interval,
    can_separate,
    grouped_scores,
)

PROBE_SEED = 0


def _feature(name: str) -> Callable[[ScanSurvey], float]:
    column = FEATURES.index(name)

    def value(survey: ScanSurvey) -> float:
        features = survey.features
        return np.nan if features is None or not len(features) else features[:, column].mean()

    return value


PROPERTIES: dict[str, tuple[int, Callable[[ScanSurvey], float]]] = {
    "distance of slices (mm)": (2, lambda survey: survey.spacing_mm[2]),
    "pixel (mm)": (2, lambda survey: survey.spacing_mm[0]),
    "slice thickness (mm)": (2, lambda survey: survey.scanner.thickness_mm or np.nan),
    "noise in lung (HU)": (0, lambda survey: float(np.exp(_feature("noise")(survey)))),
    "sharpness in lung (0: white noise)": (2, _feature("sharpness")),
    "noise across slices (log ratio)": (2, _feature("through_plane")),
    "median of lung crops (HU)": (0, _feature("hu_50")),
}
"""Property to its decimals and its value of a scan, NaN where not known."""


@dataclass(frozen=True)
class Separation:
    """One property of healthy scans and of scans with nodules.

    Attributes:
        name: Of the property and its unit.
        digits: Decimals.
        healthy: Median of the healthy patients.
        nodules: Median of the patients with nodules.
        auc: How well it separates them, folded to 0.5 or more; None with too few patients.
    """

    name: str
    digits: int
    healthy: float
    nodules: float
    auc: AUC | None


@dataclass(frozen=True)
class Confounds:
    """Comparison of healthy patients with those who have nodules.

    Attributes:
        healthy: Number of patients of healthy scans.
        nodules: Number of patients of scans with nodules.
        probe: AUC of the probe of all features; None with too few patients.
        separations: One a property.
        exclusive: Kernels and manufacturers that occur on one side only.
    """

    healthy: int
    nodules: int
    probe: AUC | None
    separations: Sequence[Separation]
    exclusive: Sequence[str]

    @property
    def decision(self) -> Literal["separable", "perhaps", "unclear", "inseparable"]:
        """What the probe's area and interval say, with the limits of the audit of a training.

        Sides are separable where the area is at least `SEPARABLE` and surely above chance, and
        inseparable where it is surely below `SEPARABLE`; too few patients decide neither.
        """
        if self.probe is None or self.probe.high < SEPARABLE:
            return "unclear" if self.probe is None else "inseparable"
        if self.probe.value < SEPARABLE:
            return "unclear"
        return "separable" if self.probe.low > 0.5 else "perhaps"

    @property
    def explanation(self) -> str:
        """What the area means, and what to do."""
        return {
            "separable": f"That is surely above chance (0.5): something other than nodules "
            f"distinguishes the two sides, such as scanner, kernel, dose or inspiration, and a net "
            f"can learn that instead. {ADVICE}.",
            "perhaps": f"The sides differ in these patients, but they are too few to be sure: the "
            f"interval holds chance (0.5). Treat the sides as separable until more patients are "
            f"there. {ADVICE}.",
            "unclear": f"The interval is too wide for an answer: it reaches {SEPARABLE:g}, "
            f"at which the scanner gives healthy scans away. Add patients to the smaller side.",
            "inseparable": f"That is surely below {SEPARABLE:g}: by these statistics healthy scans "
            f"cannot be recognised well. A net may see more than this probe does.",
        }[self.decision]


def compare_sides(surveys: Sequence[ScanSurvey]) -> Confounds:
    """Compare the healthy scans of a cohort with those that have nodules, patient by patient.

    Patients of both sides are left out, as are unlabelled scans. A patient counts once, with the
    mean of the scans.
    """
    sides = {survey.case.case: _side(survey) for survey in surveys}
    by_patient: dict[str, set[bool]] = defaultdict(set)
    for survey in surveys:
        side = sides[survey.case.case]
        if side is not None:
            by_patient[survey.case.patient].add(side)
    single = {patient: min(side) for patient, side in by_patient.items() if len(side) == 1}
    compared = [
        survey
        for survey in surveys
        if sides[survey.case.case] is not None and survey.case.patient in single
    ]
    healthy = sum(single.values())
    return Confounds(
        healthy,
        len(single) - healthy,
        _probe(compared, single),
        [
            separation
            for name, (digits, value) in PROPERTIES.items()
            if (separation := _separation(name, digits, value, compared, single)) is not None
        ],
        _exclusive(compared, single),
    )


def _side(survey: ScanSurvey) -> bool | None:
    """True for a healthy scan, False for one with nodules, None where that is not known."""
    if survey.shape is None or not survey.is_hu:
        return None
    if survey.case.role == "healthy":
        return True
    has_nodules = survey.case.role == "labelled" or survey.case.bag_label == 1 or survey.nodules
    return False if has_nodules else None


def _probe(surveys: Sequence[ScanSurvey], healthy: Mapping[str, bool]) -> AUC | None:
    rows = [
        (features, survey.case.patient)
        for survey in surveys
        for features in (survey.features if survey.features is not None else ())
    ]
    patients = [patient for _, patient in rows]
    if not _enough({patient: healthy[patient] for patient in patients}):
        return None
    positive = np.array([healthy[patient] for patient in patients])
    features = np.array([features for features, _ in rows])
    return auc_with_interval(*grouped_scores(features, positive, patients, seed=PROBE_SEED))


def _separation(
    name: str,
    digits: int,
    value: Callable[[ScanSurvey], float],
    surveys: Sequence[ScanSurvey],
    healthy: Mapping[str, bool],
) -> Separation | None:
    values: dict[str, list[float]] = defaultdict(list)
    for survey in surveys:
        if np.isfinite(number := value(survey)):
            values[survey.case.patient].append(number)
    means = {patient: float(np.mean(numbers)) for patient, numbers in values.items()}
    of_side = [[means[p] for p in means if healthy[p] == side] for side in (True, False)]
    if not all(of_side):
        return None
    of_healthy, of_others = (float(np.median(numbers)) for numbers in of_side)
    auc = None
    if _enough({patient: healthy[patient] for patient in means}):
        positive = np.array([healthy[patient] for patient in means])
        auc = folded(auc_with_interval(_rounded(list(means.values())), positive))
    return Separation(name, digits, of_healthy, of_others, auc)


def _rounded(values: list[float]) -> NDArray[np.float64]:
    """Values to seven digits: the noise of a header's floats ranks nothing."""
    return np.array([float(f"{value:.7g}") for value in values])


def folded(auc: AUC) -> AUC:
    """Return the area of the better direction, 0.5 or more.

    Example:
        >>> folded(AUC(0.25, 0.125, 0.5))
        AUC(value=0.75, low=0.5, high=0.875)
    """
    return auc if auc.value >= 0.5 else AUC(1 - auc.value, 1 - auc.high, 1 - auc.low)


def _enough(healthy: Mapping[str, bool]) -> bool:
    count = sum(healthy.values())
    return can_separate(count, len(healthy) - count)


def _exclusive(surveys: Sequence[ScanSurvey], healthy: Mapping[str, bool]) -> list[str]:
    """Sentences on kernels and manufacturers that occur on one side only, where both are known."""
    sentences = []
    for name in ("manufacturer", "kernel"):
        counts = {side: Counter[str]() for side in (True, False)}
        for survey in surveys:
            if word := getattr(survey.scanner, name):
                counts[healthy[survey.case.patient]][word] += 1
        if not all(counts.values()):
            continue
        for side, other in ((True, False), (False, True)):
            only = [word for word in counts[side] if word not in counts[other]]
            if only:
                where = "healthy scans" if side else "scans with nodules"
                sentences.append(f"{name} only in {where}: {', '.join(only[:8])}")
    return sentences
