"""Tasks: what is predicted of a scan, one file each, registered by name."""

import pkgutil
from importlib import import_module

from semilung.tasks.active_tasks import (
    DEFAULT,
    all_metrics,
    base_strategies,
    build_tasks,
    describing_tasks,
    finding_task,
    first_score,
    heads_of_tasks,
    is_evaluated,
    metrics_of,
    scan_outputs,
)
from semilung.tasks.evaluation_loop import CLOSE_UPS, evaluate_cases
from semilung.tasks.task import (
    Baseline,
    CasePrediction,
    CloseUp,
    CurveKind,
    CurveLine,
    Evaluated,
    Output,
    Task,
    register,
    tasks,
)

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)

__all__ = [
    "CLOSE_UPS",
    "DEFAULT",
    "Baseline",
    "CasePrediction",
    "CloseUp",
    "CurveKind",
    "CurveLine",
    "Evaluated",
    "Output",
    "Task",
    "all_metrics",
    "base_strategies",
    "build_tasks",
    "describing_tasks",
    "evaluate_cases",
    "finding_task",
    "first_score",
    "heads_of_tasks",
    "is_evaluated",
    "metrics_of",
    "register",
    "scan_outputs",
    "tasks",
]
