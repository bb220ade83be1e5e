"""Runs with their metrics, grouped by setting for comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from semilung.arm_names import BASELINE
from semilung.evaluation import Metric
from semilung.inference.predictor import MASK_HEAD
from semilung.nested import leaves
from semilung.report.formatting import without_folders
from semilung.tasks import Task, build_tasks, metrics_of


@dataclass(frozen=True)
class Run:
    """An evaluated run.

    Attributes:
        name: Name of its folder.
        folder: Path of its folder.
        arm: The strategies, joined by `+`.
        seed: Seed of the training.
        values: Further settings that differ between runs, such as `data.labelled`.
        config: Nested settings.
        cases: One row per evaluated case, of the last checkpoint.
        lesions: One row per reference lesion of these cases.
        findings: One row per finding on these cases; empty if the tasks have none.
        best: As `cases`, of the checkpoint with the best validation; None if not evaluated.
        best_lesions: As `lesions`, of that checkpoint.
        curves: `step`, `name`, `value` as logged in training.
        cost: `seconds`, `peak_memory_mib` and other known costs.
        audits: Audit to its `status`, `summary`, `advice` and values.
        provenance: Command, versions and revision.
        overlays: Folder of overlays, `<case>.png`.
        splits: Case to its `split` and `role` after the label budget; empty if unknown.
        external: As `cases`, of other evaluated sets of scans, by name.
        tasks: What it predicts, by name.
    """

    name: str
    folder: Path
    arm: str
    seed: int
    values: Mapping[str, Any]
    config: dict[str, Any]
    cases: pd.DataFrame
    lesions: pd.DataFrame
    best: pd.DataFrame | None
    curves: pd.DataFrame
    cost: dict[str, Any]
    audits: dict[str, Any]
    provenance: dict[str, Any]
    overlays: Path
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    external: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=build_tasks)
    findings: pd.DataFrame = field(default_factory=pd.DataFrame)
    best_lesions: pd.DataFrame = field(default_factory=pd.DataFrame)

    def rows(self, metric: Metric, *, best: bool = False) -> pd.DataFrame:
        """Return the rows that a metric's mean is over, of `cases` or `lesions`.

        Args:
            metric: The metric.
            best: Of the best checkpoint; without rows if it was not evaluated.
        """
        if metric.population == "lesions":
            return self.best_lesions if best else self.lesions
        cases = self.best if best else self.cases
        return pd.DataFrame() if cases is None else metric.members(cases)

    def value(self, metric: Metric, case: str) -> float:
        """Return a metric of a case, the mean over its lesions if it is one of lesions."""
        rows = self.rows(metric)
        return float(rows[rows["case"] == case][metric.column].mean())

    @property
    def settings(self) -> dict[str, Any]:
        """Return all settings by their dotted names, and the tasks joined by `+`."""
        return {**leaves(self.config), "tasks": "+".join(self.tasks)}


@dataclass(frozen=True)
class Group:
    """Comparable runs of one setting. A contender is an arm, or a setting of a single arm.

    Attributes:
        label: The common setting, such as `data.labelled=8`; empty if there is only one.
        contenders: Name to its runs, over seeds and folds, in the order of the study.
    """

    label: str
    contenders: dict[str, list[Run]]

    @property
    def reference(self) -> str:
        """Return the contender with which the others are compared: `supervised`, else the first."""
        return BASELINE if BASELINE in self.contenders else next(iter(self.contenders))

    @property
    def runs(self) -> list[Run]:
        """Return all runs."""
        return [run for runs in self.contenders.values() for run in runs]


@dataclass(frozen=True)
class Study:
    """All runs of a report.

    Attributes:
        title: Name of the run or the sweep.
        split: The evaluated split, `val` or `test`.
        runs: In the order of the sweep.
        axes: Keys of `Run.values`.
        failures: `run`, `arm` and `message` of failed runs.
        request: Content of `sweep.yaml`; empty for single runs.
        sweep: Whether this is a sweep.
    """

    title: str
    split: str
    runs: list[Run]
    axes: list[str]
    failures: pd.DataFrame = field(default_factory=pd.DataFrame)
    request: dict[str, Any] = field(default_factory=dict)
    sweep: bool = False

    def with_cases(self, cases: Callable[[Run], pd.DataFrame]) -> Study:
        """Return the study on other evaluated cases, without the best checkpoint."""
        none = pd.DataFrame()
        runs = [
            replace(run, cases=cases(run), best=None, lesions=none, findings=none)
            for run in self.runs
        ]
        return replace(self, runs=runs)

    @property
    def tasks(self) -> dict[str, Task]:
        """Return the tasks of all runs, those of the first run first."""
        return {name: task for run in self.runs for name, task in run.tasks.items()}

    @property
    def metrics(self) -> list[Metric]:
        """Return the metrics that tables show; the first one is the score."""
        return [metric for metric in metrics_of(self.tasks.values()) if metric.reported]

    @property
    def score(self) -> Metric:
        """Return the metric by which arms are compared by default."""
        return self.metrics[0]

    @property
    def false_positives(self) -> Metric | None:
        """Return the metric of healthy scans that is shown next to the score."""
        metrics = (task.false_positives for task in self.tasks.values())
        return next((metric for metric in metrics if metric is not None), None)

    def table_name(self, stem: str, task: str) -> str:
        """Return the name of a task's table: the task is part of it if there are several."""
        return f"{stem}-{task}" if len(self.tasks) > 1 else stem

    def silent(self, group: Group, metric: Metric) -> list[str]:
        """Return the contenders that predict empty masks alone, if a metric is one of masks."""
        owners = [task for task in self.tasks.values() if metric in task.metrics]
        masks = any(MASK_HEAD in task.heads for task in owners)
        return silent_contenders(group.contenders) if masks else []

    @property
    def arms(self) -> list[str]:
        """Return the distinct arms."""
        return list(dict.fromkeys(run.arm for run in self.runs))

    @property
    def seeds(self) -> list[int]:
        """Return the distinct seeds."""
        return sorted({run.seed for run in self.runs})

    @property
    def groups(self) -> list[Group]:
        """Return a group per setting; the settings of a single arm form one group."""
        groups: dict[str, dict[str, list[Run]]] = {}
        several = len(self.arms) > 1
        for run in self.runs:
            setting = setting_label(run.values)
            label, name = (setting, run.arm) if several else ("", setting or run.arm)
            groups.setdefault(label, {}).setdefault(name, []).append(run)
        return [Group(label, contenders) for label, contenders in groups.items()]


def is_silent(run: Run) -> bool:
    """Return whether a run predicts masks, and no foreground voxel on any evaluated case."""
    return "silent" in run.cases and bool(run.cases["silent"].all())


def silent_contenders(contenders: Mapping[str, list[Run]]) -> list[str]:
    """Return the contenders of which every run is silent."""
    return [name for name, runs in contenders.items() if all(map(is_silent, runs))]


def blank(value: Any) -> bool:
    """Return whether a setting has no value, as the options of a strategy in arms without it."""
    return value is None or value == "" or value != value  # NaN != NaN


def setting_label(values: Mapping[str, Any]) -> str:
    """Return values in the syntax of the command line, without absolute folders.

    Example:
        >>> setting_label({"data.labelled": 8, "model.depth": 2})
        'data.labelled=8, model.depth=2'
    """
    return ", ".join(without_folders(f"{key}={value}") for key, value in values.items())
