"""The table of metrics: one row each, read by all that computes, shows or compares them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Literal, NamedTuple, TypeAlias

import pandas as pd

from semilung.evaluation.intervals import Interval, bootstrap_mean, wilson
from semilung.evaluation.segmentation import DETECTION_IOU

Population: TypeAlias = Literal["positive", "lesions", "healthy", "all scans"]
"""What a metric is averaged over: scans with a nodule, nodules, scans without any, all scans. It
is the name of the group in `summary.csv` too."""

SHARE, AMOUNT = (0.0, 1.0), (0.0, 1e15)
"""Bounds of values."""


class EmptyScores(NamedTuple):
    """Value of a metric if both masks are empty, only the reference, only the prediction."""

    both: float
    reference: float
    prediction: float


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric: where its values are, over what they are averaged, and how they are shown.

    Attributes:
        name: In `--metric` and, as `val/<name>`, in `metrics.csv`; unique.
        column: Of `cases.csv`, or of `lesions.csv` for the population `lesions`.
        label: Text in tables and on axes.
        meaning: Definition in one line.
        population: What its mean is over.
        unit: Unit in plain text; empty if dimensionless.
        direction: Which values are better.
        digits: Decimals in a report.
        bounds: Lowest and highest valid value.
        summary: Name in `summary.csv`; the column's if empty.
        short: Title in the table of an ablation; it is not shown there if empty.
        note: Caution below tables that show it.
        validated: Whether each validation computes it.
        reported: Whether reports compare arms by it.
        by_size: Whether reports show it by the diameter of lesions.
        separable: Whether its mean over lesions of one size is a metric of these; a ranking of
            lesions has none.
        interval: 95 % interval of its mean.
        empty: Convention for empty masks to its scores (`apply_empty_policy`).
    """

    name: str
    column: str
    label: str
    meaning: str
    population: Population = "positive"
    unit: str = ""
    direction: Literal["higher", "lower"] = "higher"
    digits: int = 3
    bounds: tuple[float, float] = SHARE
    summary: str = ""
    short: str = ""
    note: str = ""
    validated: bool = False
    reported: bool = True
    by_size: bool = False
    separable: bool = True
    interval: Callable[[Iterable[float]], Interval] = bootstrap_mean
    empty: Mapping[str, EmptyScores] = field(default_factory=dict, compare=False)

    @property
    def summary_name(self) -> str:
        """Name in `summary.csv`."""
        return self.summary or self.column

    @property
    def result_name(self) -> str:
        """Column of an ablation's `results.csv`."""
        return f"{'healthy_' if self.healthy else ''}{self.summary_name}"

    @property
    def validation_name(self) -> str:
        """Name in `metrics.csv` and TensorBoard."""
        return f"val/{self.name}"

    @property
    def more_is_better(self) -> bool:
        """Whether higher is better."""
        return self.direction == "higher"

    @property
    def healthy(self) -> bool:
        """Whether its mean is over healthy scans."""
        return self.population == "healthy"

    @property
    def full_scale(self) -> bool:
        """Whether axes run from 0 to 1: a share of which more is better."""
        return self.more_is_better and self.bounds == SHARE

    def gain(self, value: float) -> float:
        """Return the value, its sign changed if lower is better, so that more is better."""
        return value if self.more_is_better else -value

    def members(self, cases: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of `cases.csv` that its mean is over."""
        return members(cases, self.population)


def members(cases: pd.DataFrame, population: Population) -> pd.DataFrame:
    """Return the rows of `cases.csv` in a population.

    Scans whose marked voxels are all ignored are neither positive nor healthy. Where no reference
    mask was read, the role decides.

    Example:
        >>> cases = pd.DataFrame({"case": [*"abc"], "reference_volume_mm3": [5.0, 0.0, nan]})
        >>> members(cases, "positive")["case"].tolist(), members(cases, "healthy")["case"].tolist()
        (['a'], ['b'])
    """
    if population == "all scans":
        return cases
    if "reference_volume_mm3" in cases:
        volume = cases["reference_volume_mm3"]
        return cases[volume > 0 if population == "positive" else volume == 0]
    return cases[(cases["role"] == "healthy") == (population == "healthy")]


def with_silence(cases: pd.DataFrame) -> pd.DataFrame:
    """Return `cases.csv` with a column `silent`: 1 if the predicted mask is empty, else 0."""
    if "predicted_volume_mm3" not in cases:
        return cases
    return cases.assign(silent=(cases["predicted_volume_mm3"] == 0).astype(float))


_DICE_EMPTY = {
    "semilung": EmptyScores(both=nan, reference=nan, prediction=0),
    "nnunet": EmptyScores(both=nan, reference=0, prediction=0),
    "monai": EmptyScores(both=nan, reference=nan, prediction=0),
    "pymic": EmptyScores(both=1, reference=0, prediction=0),
}
_HD95_EMPTY = {
    "semilung": EmptyScores(both=nan, reference=nan, prediction=nan),
    "monai": EmptyScores(both=nan, reference=nan, prediction=nan),
    "pymic": EmptyScores(both=0, reference=100, prediction=100),
}
_SURFACE_DICE_EMPTY = {
    "semilung": EmptyScores(both=nan, reference=nan, prediction=0),
    "monai": EmptyScores(both=nan, reference=0, prediction=0),
}

DICE = Metric(
    name="dice", column="dice", label="Dice", short="Dice", validated=True, empty=_DICE_EMPTY,
    meaning="Volume overlap of prediction and reference, 0 none to 1 equal; 0 for an empty "
    "prediction.",
)  # fmt: skip
HEALTHY_FP_MM3 = Metric(
    name="healthy_fp_mm3", column="fp_volume_mm3", label="False positives on healthy scans",
    unit="mm3 per scan", population="healthy", direction="lower", digits=1, bounds=AMOUNT,
    short="healthy FP mm3", validated=True, meaning="Volume predicted on a scan without nodules.",
)  # fmt: skip

_CALIBRATED: tuple[tuple[str, Population], ...] = (("", "positive"), ("healthy_", "healthy"))
_CALIBRATION = (
    ("ece", "ECE", 4, "Expected calibration error over all voxels, 0 to 1; always small, because "
     "most voxels are easy background."),
    ("foreground_ece", "Foreground ECE", 3, "Expected calibration error over voxels with a "
     "predicted probability above 0.05, 0 to 1."),
    ("brier", "Brier score", 4, "Mean squared difference between probability and reference over "
     "all voxels, 0 to 1."),
)  # fmt: skip

SEGMENTATION: tuple[Metric, ...] = (
    DICE,
    Metric(
        name="surface_dice", column="surface_dice_2mm", label="Surface Dice at 2 mm",
        empty=_SURFACE_DICE_EMPTY,
        meaning="Share of both surfaces within 2 mm of the other; 0 for an empty prediction.",
    ),
    Metric(
        name="hd95_mm", column="hd95_mm", label="HD95", unit="mm", direction="lower", digits=1,
        bounds=AMOUNT, empty=_HD95_EMPTY,
        meaning="95th percentile of the distances between the two surfaces; undefined for an empty "
        "prediction.",
        note="HD95 excludes cases with an empty prediction; read it together with Dice.",
    ),
    Metric(
        name="empty_prediction", column="silent", summary="empty_prediction", reported=False,
        label="Share of cases with an empty prediction", unit="share of scans", direction="lower",
        meaning="Share of scans with a nodule on which nothing is predicted.",
    ),
    Metric(
        name="fp_components", column="fp_components", label="False positives next to nodules",
        unit="per scan", direction="lower", digits=2, bounds=AMOUNT, reported=False,
        meaning="Predicted components without a nodule voxel on a scan with nodules.",
    ),
    Metric(
        name="fp_volume_mm3", column="fp_volume_mm3", label="False positives next to nodules",
        unit="mm3 per scan", direction="lower", digits=1, bounds=AMOUNT, reported=False,
        meaning="Volume of these components.",
    ),
    Metric(
        name="sensitivity", column="detected", summary="sensitivity", population="lesions",
        label="Sensitivity", unit="share of lesions", short="sensitivity", reported=False,
        by_size=True, interval=wilson,
        meaning="Share of lesions detected: those that reach an intersection over union of "
        f"{DETECTION_IOU:g} with the predicted components that touch them.",
    ),
    Metric(
        name="lesion_dice", column="dice", summary="lesion_dice", population="lesions",
        label="Dice of lesions", reported=False,
        meaning="Overlap of each lesion with the components that touch it; 0 for a missed one.",
    ),
    Metric(
        name="healthy_fp_components", column="fp_components", population="healthy",
        label="False-positive components on healthy scans", unit="per scan", direction="lower",
        digits=2, bounds=AMOUNT, short="healthy FPs", validated=True,
        meaning="Connected components predicted on a scan without nodules.",
    ),
    HEALTHY_FP_MM3,
    Metric(
        name="silent", column="silent", population="healthy", label="Share of silent healthy scans",
        unit="share of scans", digits=2,
        meaning="Share of scans without nodules on which nothing is predicted.",
    ),
    *(
        Metric(
            name=f"{prefix}{name}", column=name, population=population, label=label,
            direction="lower", digits=digits, reported=not prefix, meaning=meaning,
        )
        for prefix, population in _CALIBRATED
        for name, label, digits, meaning in _CALIBRATION
    ),
)  # fmt: skip
"""Rows of segmentation, in the order in which tables show them."""


HEALTHY_FINDINGS = Metric(
    name="healthy_findings", column="fp_at_80", population="healthy", direction="lower", digits=2,
    label="False positives on healthy scans at sensitivity 0.8", unit="per scan", bounds=AMOUNT,
    short="healthy FPs at 0.8", validated=True,
    meaning="Findings on a scan without nodules above the threshold at which 80 % of the evaluated "
    "nodules are detected; undefined if no threshold detects as many.",
)  # fmt: skip

DETECTION: tuple[Metric, ...] = (
    Metric(
        name="cpm", column="froc_share", summary="cpm", population="lesions", label="CPM",
        short="CPM", validated=True,
        meaning="Competition performance metric of LUNA16: mean sensitivity at 1/8, 1/4, 1/2, 1, "
        "2, 4 and 8 false positives per scan.",
    ),
    *(
        Metric(
            name=f"sensitivity_at_{rate}", column=f"detected_at_{rate}", population="lesions",
            label=f"Sensitivity at {rate} false positive{'s' * (rate > 1)} per scan",
            unit="share of nodules", short=f"sensitivity at {rate} FP", reported=False,
            by_size=True, interval=wilson,
            meaning="Share of nodules detected at that rate over all evaluated scans.",
        )
        for rate in (1, 4)
    ),
    HEALTHY_FINDINGS,
    Metric(
        name="centre_error_mm", column="centre_error_mm", population="lesions", unit="mm",
        label="Distance of centres", direction="lower", digits=1, bounds=AMOUNT, reported=False,
        meaning="Distance of a detected nodule's centre from the finding's.",
    ),
    Metric(
        name="diameter_error_mm", column="diameter_error_mm", population="lesions", unit="mm",
        label="Error of diameters", direction="lower", digits=1, bounds=AMOUNT, reported=False,
        meaning="Absolute difference of a detected nodule's diameter from the finding's.",
    ),
)  # fmt: skip
"""Rows of detection, in the order in which tables show them."""

CHARACTERIZATION: tuple[Metric, ...] = (
    Metric(
        name="auc", column="auc_share", summary="auc", population="lesions", label="AUC",
        short="AUC", validated=True, bounds=(-1e6, 1e6), separable=False,
        meaning="Probability that the first target's prediction ranks a positive nodule above a "
        "negative one.",
    ),
    Metric(
        name="size_auc", column="size_auc_share", summary="size_auc", population="lesions",
        label="AUC of the diameter", bounds=(-1e6, 1e6), separable=False, reported=False,
        meaning="The same for a nodule's diameter alone.",
    ),
    Metric(
        name="auc_gain", column="auc_gain", summary="auc_gain", population="lesions",
        label="AUC above that of the diameter", short="AUC gain", bounds=(-1e6, 1e6),
        separable=False,
        meaning="Difference of the two, nodule by nodule.",
    ),
)  # fmt: skip
"""Rows of characterization, in the order in which tables show them."""
