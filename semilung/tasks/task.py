"""Contract and registry of tasks.

A task says what is predicted of a scan: the heads that prediction reads, the strategy that trains
them, and what is evaluated and written of their maps. Training, evaluation, prediction, ablation
and report ask the active tasks; a case is predicted once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from math import isnan, nan
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from semilung.data import Case, PreparedCase, Volume
from semilung.evaluation.case_evaluation import Report
from semilung.evaluation.case_picture import case_picture
from semilung.evaluation.metrics import Metric
from semilung.evaluation.overlay import overlay_planes
from semilung.inference import Predictor
from semilung.inference.outputs import Activation
from semilung.inference.predictor import ScanMaps, foreground
from semilung.registry import Registry
from semilung.types import UserError

Value = TypeVar("Value")

Output: TypeAlias = Volume | pd.DataFrame
"""A volume on a scan's own grid, or a table."""


@dataclass(frozen=True)
class CasePrediction:
    """A prepared case with its predicted maps.

    Attributes:
        case: The case.
        maps: Head to `(K, X, Y, Z)`, after its activation.
        predictor: Its settings of inference and data.
    """

    case: PreparedCase
    maps: Mapping[str, Tensor]
    predictor: Predictor
    _values: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, function: Callable[[CasePrediction], Value]) -> Value:
        """Return a task's function of this prediction, computed at its first use alone."""
        if function not in self._values:
            self._values[function] = function(self)
        return cast("Value", self._values[function])

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """The mask `(X, Y, Z)`, 0 or 1, of the foreground probability, cut once for all uses."""
        return self.predictor.decode(foreground(self.maps), self.case.spacing_mm)

    def overlay(
        self, reference: NDArray[np.uint8], mask: NDArray[np.uint8], *, captioned: bool
    ) -> NDArray[np.uint8]:
        """Return three planes `(H, W, 3)` with the outlines of a reference and a prediction.

        Args:
            reference: `(X, Y, Z)`.
            mask: `(X, Y, Z)`, predicted.
            captioned: With a caption and a close-up; without, it takes less memory.
        """
        image, window_hu = self.case.read("image"), self.predictor.data.window_hu
        if not captioned:
            return overlay_planes(image, reference=reference, prediction=mask, window_hu=window_hu)
        return case_picture(
            image,
            reference=reference,
            prediction=mask,
            spacing_mm=self.case.spacing_mm,
            window_hu=window_hu,
            title=self.case.name,
        )


class Evaluated(NamedTuple):
    """The evaluation of one case.

    Attributes:
        row: Columns of `cases.csv`; NaN where undefined.
        lesions: Rows of `lesions.csv`, each with `instance`; rows of several tasks are joined.
        findings: Rows of `findings.csv`, predicted findings with what they are on.
        shown: Whether there is something to see in a picture.
    """

    row: Mapping[str, Any]
    lesions: Sequence[Mapping[str, Any]] = ()
    shown: bool = False
    findings: Sequence[Mapping[str, Any]] = ()


class CloseUp(NamedTuple):
    """A picture `(H, W, 3)` of the finding in a row of `findings.csv`, by the row's index."""

    row: int
    picture: NDArray[np.uint8]


class Baseline(NamedTuple):
    """A prediction that does not use the image.

    Attributes:
        name: In tables and plots.
        meaning: How it predicts.
        scores: The task's score of each evaluated case (second argument) by the baseline that fits
            the training cases (first) best; None where cases allow none.
    """

    name: str
    meaning: str
    scores: Callable[[Sequence[Case], Sequence[Case]], list[float] | None]


class CurveLine(NamedTuple):
    """A curve with its 95 % band, each `(N,)`."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CurveKind:
    """A curve that a report draws for each arm.

    Attributes:
        name: Of its plot.
        title: In alternative text.
        x_label: Of the logarithmic axis.
        y_label: Of the axis from 0 to 1.
        x_ticks: Marked values.
        caption: Below the plot.
        line: The curve of an arm, from the evaluations of its seeds.
        points: Operating points of an evaluation, as `operating_points` of detection gives them.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[float, ...]
    caption: str
    line: Callable[[Sequence[Report]], CurveLine]
    points: Callable[[Report], pd.DataFrame]


class Task:
    """Base class of tasks; subclasses take keyword-only options.

    Attributes:
        base: Strategy with its supervised terms, part of every training of the task.
        base_options: Options of it that follow from the task's.
        term: The term of it that others' gradients are compared with.
        heads: Outputs of the student that prediction reads, with their activations. Those besides
            `logits` are declared by the strategy that trains them (`Needs.heads`).
        metrics: Its metrics, in the order of tables. The first is its score, by which the best
            checkpoint is selected and arms are compared.
        false_positives: The metric of healthy scans that reports show next to the score.
        fields: Labels that a case must have to be evaluated, unless it is healthy.
        lesion_columns: Columns of its rows of `lesions.csv`.
        finding_columns: Columns of its rows of `findings.csv`.
        required_columns: Those of `cases.csv` and `lesions.csv` that a report needs, by file name.
        files: What `outputs` returns: a kind of volume (`nodules`), or a table (`findings.csv`).
        centres: Whether its findings are predicted centres, and not components of its mask.
        descriptions: Columns that `annotate` adds to the findings of other tasks, name to meaning.
        optional_files: Those that `predict` writes on request (`--probability`).
        baseline: What a prediction without the image scores.
        curve: Curve that reports draw, from its rows of `findings.csv`.
        min_probability: Least probability of a finding in the table that `outputs` returns.
    """

    base: ClassVar[str]
    term: str
    heads: ClassVar[Mapping[str, Activation]]
    metrics: ClassVar[tuple[Metric, ...]]
    files: ClassVar[tuple[str, ...]] = ()
    centres: ClassVar[bool] = False
    descriptions: Mapping[str, str] = MappingProxyType({})
    base_options: Mapping[str, Any] = MappingProxyType({})
    optional_files: ClassVar[tuple[str, ...]] = ()
    false_positives: ClassVar[Metric | None] = None
    fields: ClassVar[tuple[str, ...]] = ("mask",)
    lesion_columns: tuple[str, ...] = ()
    finding_columns: ClassVar[tuple[str, ...]] = ()
    required_columns: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    baseline: ClassVar[Baseline | None] = None
    curve: ClassVar[CurveKind | None] = None
    min_probability: float = 0.0

    @property
    def score(self) -> Metric:
        """The metric by which checkpoints are selected and arms are compared."""
        return self.metrics[0]

    @property
    def reference_term(self) -> str:
        """The term that others' gradients are compared with, as `strategy/term`."""
        return f"{self.base}/{self.term}"

    def at_min_probability(self, probability: float) -> Self:
        """Return the task with another least probability of a finding, in (0, 1).

        Raises:
            UserError: The probability is out of range.
        """
        if not 0 < probability < 1:
            raise UserError(
                f"min_probability (--min-probability) is the least probability of a finding, in "
                f"(0, 1), got {probability:g}; leave it out for that of the run"
            )
        task = copy(self)
        task.min_probability = probability
        return task

    def evaluates(self, case: Case) -> bool:
        """Return whether the labels of a case are known."""
        labelled = case.role == "labelled" and all(getattr(case, name) for name in self.fields)
        return case.role == "healthy" or labelled

    def validate(self, predicted: CasePrediction) -> dict[str, Any]:
        """Return what a validation needs of a case: its metrics by name, undefined ones left out.

        Values are plain or arrays, as `pool` takes them.
        """
        raise NotImplementedError

    def pool(self, validated: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the metrics of a validation, by name: means of the values that cases have.

        A task with metrics of a whole set of scans, such as the CPM, pools the cases itself.
        """
        return {
            metric.name: mean_of_defined(case.get(metric.name, nan) for case in validated)
            for metric in self.metrics
            if metric.validated
        }

    def complete(self, report: Report) -> Report:
        """Return an evaluation with the columns that need all of its cases; none by default."""
        return report

    def evaluate(self, predicted: CasePrediction) -> Evaluated:
        """Return all metrics of a case."""
        raise NotImplementedError

    def picture(
        self, predicted: CasePrediction, *, captioned: bool = True
    ) -> NDArray[np.uint8] | None:
        """Return an overlay of a case `(H, W, 3)`; None if the task has none.

        Args:
            predicted: The case.
            captioned: With a caption, as evaluations show it; without one it takes less memory, as
                validations need it.
        """
        return None

    def close_ups(
        self, report: Report, cases: Mapping[str, PreparedCase], window_hu: tuple[float, float]
    ) -> Iterator[CloseUp]:
        """Yield pictures of single findings of a whole evaluation; none by default.

        Args:
            report: The evaluation, completed.
            cases: Its cases by name, to read their scans.
            window_hu: HU drawn as black and as white.
        """
        yield from ()

    def outputs(self, predictor: Predictor, predicted: ScanMaps) -> dict[str, Output]:
        """Return what is written of a scan, by the names in `files` and `optional_files`."""
        return {}

    def annotate(
        self, findings: pd.DataFrame, predicted: ScanMaps, mask: Volume | None = None
    ) -> pd.DataFrame:
        """Return findings of a scan that another task made, with the columns `descriptions`.

        Args:
            findings: Centres in LPS+ mm and `diameter_mm` (`FINDING_COLUMNS`).
            predicted: Maps of the scan.
            mask: Outlines of the findings, above 0; without it they are balls.
        """
        return findings


def mean_of_defined(values: Iterable[float]) -> float:
    """Return the mean of the values that are not NaN; NaN without any.

    Example:
        >>> mean_of_defined([1.0, nan, 2.0])
        1.5
    """
    defined = [value for value in values if not isnan(value)]
    return sum(defined) / len(defined) if defined else nan


tasks: Registry[Task] = Registry("task", group="semilung.tasks")
register = tasks.register
