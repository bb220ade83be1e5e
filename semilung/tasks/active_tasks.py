"""The active tasks of a config, and what they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import pandas as pd

from semilung.data import Case, Volume
from semilung.evaluation.metrics import Metric
from semilung.inference import Predictor
from semilung.inference.output_files import MASK, TABLE
from semilung.inference.outputs import Activation
from semilung.inference.predictor import ScanMaps
from semilung.tasks.task import Output, Task, tasks
from semilung.types import UserError

DEFAULT: Mapping[str, Any] = {"segmentation": {}}
"""The tasks of a config that names none, as those of earlier versions."""


def build_tasks(options: Mapping[str, Any] = DEFAULT) -> dict[str, Task]:
    """Build tasks from their options by name, in order; the first one's score selects.

    Raises:
        UserError: There is none, or an unknown name or option.

    Example:
        >>> [task.score.name for task in build_tasks().values()]
        ['dice']
    """
    if not options:
        raise UserError(f"a training needs a task; name one of {', '.join(tasks)}: tasks=NAME")
    return {name: tasks.build(name, values or {}) for name, values in options.items()}


def base_strategies() -> list[str]:
    """Return the names of the base strategies of all registered tasks."""
    return [cast("type[Task]", tasks[name]).base for name in tasks]


def all_metrics() -> tuple[Metric, ...]:
    """Return the metrics of all registered tasks."""
    return metrics_of(cast("type[Task]", tasks[name]) for name in tasks)


def heads_of_tasks(active: Iterable[Task]) -> dict[str, Activation]:
    """Return the heads that tasks predict, with their activations."""
    return {head: activation for task in active for head, activation in task.heads.items()}


def finding_task(active: Mapping[str, Task]) -> str:
    """Return the name of the task whose table is a scan's findings.

    A task of predicted centres goes before one of which they are the components of a mask.

    Raises:
        UserError: No task predicts findings.

    Example:
        >>> finding_task(build_tasks({"segmentation": {}, "detection": {}}))
        'detection'
    """
    predicting = [name for name, task in active.items() if TABLE in task.files]
    if not predicting:
        raise UserError(
            f"the run predicts no findings, its tasks are {', '.join(active)}; give a run that was "
            f"trained for detection or segmentation, as tasks=[segmentation,detection]; one of "
            f"characterization describes given findings (semilung characterize)"
        )
    return max(predicting, key=lambda name: active[name].centres)  # the first of equals


def describing_tasks(active: Mapping[str, Task]) -> list[str]:
    """Return the names of the tasks that add columns to findings, in the order of the columns.

    Example:
        >>> describing_tasks(build_tasks({"characterization": {}, "detection": {}}))
        ['characterization']
    """
    return [name for name, task in active.items() if task.descriptions]


def scan_outputs(
    active: Mapping[str, Task], predictor: Predictor, predicted: ScanMaps
) -> dict[str, Output]:
    """Return what tasks predict of a scan, by kind of volume or name of a table.

    The findings are those of `finding_task`, with the columns of `describing_tasks`. Components of
    a mask are described by their outlines, centres by balls.
    """
    parts = {name: task.outputs(predictor, predicted) for name, task in active.items()}
    outputs = {kind: output for part in parts.values() for kind, output in part.items()}
    if TABLE in outputs:
        source = finding_task(active)
        findings, mask = parts[source][TABLE], parts[source].get(MASK)
        assert isinstance(findings, pd.DataFrame)
        assert mask is None or isinstance(mask, Volume)
        for name in describing_tasks(active):
            findings = active[name].annotate(findings, predicted, mask)
        outputs[TABLE] = findings
    return outputs


def metrics_of(active: Iterable[Task | type[Task]]) -> tuple[Metric, ...]:
    """Return the metrics of tasks, each once, in order."""
    return tuple({metric.name: metric for task in active for metric in task.metrics}.values())


def first_score(active: Mapping[str, Task]) -> Metric:
    """Return the metric by which checkpoints are selected: the score of the first task."""
    return next(iter(active.values())).score


def is_evaluated(active: Iterable[Task], case: Case) -> bool:
    """Return whether any of the tasks can evaluate a case."""
    return any(task.evaluates(case) for task in active)
