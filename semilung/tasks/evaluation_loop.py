"""Evaluation of cases for all active tasks, each case predicted once."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from semilung.data import PreparedCase
from semilung.evaluation.case_evaluation import Report
from semilung.evaluation.metrics import members
from semilung.evaluation.overlay import write_png
from semilung.inference import Predictor
from semilung.inference.scan_progress import ScanProgress
from semilung.tasks.active_tasks import is_evaluated, metrics_of
from semilung.tasks.task import CasePrediction, CloseUp, Evaluated, Task
from semilung.types import UserError

SILENT_PICTURES = 3
"""Number of healthy scans with an overlay even if nothing is predicted, equal for every run."""

CLOSE_UPS = "findings"
"""Folder of close-ups among the overlays."""


def evaluate_cases(
    predictor: Predictor,
    cases: Sequence[PreparedCase],
    tasks: Mapping[str, Task],
    *,
    pictures: Path | None = None,
    progress: bool = False,
) -> Report:
    """Predict every case once, and compare it with its reference for each task.

    Args:
        predictor: Nets and inference settings; its heads are those of the tasks.
        cases: Distinct cases that a task can evaluate.
        tasks: Name to task.
        pictures: Folder for an overlay of each case with a lesion or a prediction, and of the
            first `SILENT_PICTURES` scans without a lesion; and for a folder `CLOSE_UPS` of single
            findings, which the column `picture` of `findings.csv` names.
        progress: Show scans and windows on standard error.

    Raises:
        UserError: There is no case, one occurs twice, or no task can evaluate one.

    Warns:
        UserWarning: In some cases every marked voxel is ignored.
    """
    _require_references(cases, tasks)
    case_rows: list[dict[str, Any]] = []
    lesion_rows: list[dict[str, Any]] = []
    finding_rows: list[dict[str, Any]] = []
    healthy = 0
    bar = ScanProgress(len(cases), shown=progress)
    for case in bar.each(cases, lambda case: case.name):
        predicted = CasePrediction(case, predictor.case_maps(case, progress=bar.windows), predictor)
        active = [task for task in tasks.values() if task.evaluates(case.case)]
        evaluated = [task.evaluate(predicted) for task in active]
        name = {"case": case.name, "cohort": case.case.cohort}
        row = {**name, "role": case.case.role}
        row |= {column: value for part in evaluated for column, value in part.row.items()}
        case_rows.append(row)
        lesion_rows += [{**name, **lesion} for lesion in _joined(evaluated)]
        finding_rows += [{**name, **row} for part in evaluated for row in part.findings]
        healthy += len(members(pd.DataFrame([row]), "healthy"))
        shown = any(part.shown for part in evaluated) or healthy <= SILENT_PICTURES
        if pictures is not None and shown:
            candidates = (task.picture(predicted) for task in active)
            if (picture := next((p for p in candidates if p is not None), None)) is not None:
                write_png(pictures / f"{case.name}.png", picture)
    _warn_of_ignored(case_rows)
    report = Report(
        pd.DataFrame(case_rows),
        _table(lesion_rows, [task.lesion_columns for task in tasks.values()]),
        metrics_of(tasks.values()),
        _table(finding_rows, [task.finding_columns for task in tasks.values()]),
    )
    for task in tasks.values():
        report = task.complete(report)
    if pictures is None:
        return report
    by_name = {case.name: case for case in cases}
    close_ups = [
        task.close_ups(report, by_name, predictor.data.window_hu) for task in tasks.values()
    ]
    return _with_close_ups(report, chain.from_iterable(close_ups), pictures / CLOSE_UPS)


def _with_close_ups(report: Report, close_ups: Iterable[CloseUp], folder: Path) -> Report:
    """Write close-ups, and return the evaluation with their names in the column `picture`."""
    if not len(report.findings.columns):
        return report
    names = pd.Series("", index=report.findings.index)
    for number, (row, picture) in enumerate(close_ups, 1):
        names[row] = f"{number}.png"
        write_png(folder / names[row], picture)
    return replace(report, findings=report.findings.assign(picture=names))


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Sequence[str]]) -> pd.DataFrame:
    """Return rows of all tasks as a table; one without columns if no task has any."""
    distinct = dict.fromkeys(chain.from_iterable(columns))
    return pd.DataFrame(rows, columns=["case", "cohort", *distinct] if distinct else [])


def _joined(evaluated: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """Return the lesions of a case, the columns of all tasks in one row.

    A common column, such as the diameter, is that of the first task that knows it.
    """
    rows: dict[Any, dict[str, Any]] = {}
    for part in evaluated:
        for lesion in part.lesions:
            row = rows.setdefault(lesion["instance"], {})
            row |= {key: value for key, value in lesion.items() if pd.isna(row.get(key))}
    return list(rows.values())


def _warn_of_ignored(rows: Sequence[dict[str, Any]]) -> None:
    names = [str(row["case"]) for row in rows if math.isnan(row.get("reference_volume_mm3", 0))]
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        warnings.warn(
            f"every marked voxel of {', '.join(names[:5])}{more} is 255 (ignore), so these cases "
            f"count neither as scans with nodules nor as healthy ones; did you mean 1?",
            stacklevel=3,
        )


def _require_references(cases: Sequence[PreparedCase], tasks: Mapping[str, Task]) -> None:
    """Raise UserError unless there are cases, each occurs once, and each has a reference."""
    if not cases:
        msg = (
            "there are no cases to evaluate: the chosen split is empty; choose another one, or "
            "assign labelled or healthy cases to it in the manifest"
        )
        raise UserError(msg)
    counts = Counter(prepared.name for prepared in cases)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        msg = (
            f"these cases occur more than once: {', '.join(repeated)}; list each case once, else "
            f"it would count twice in every mean"
        )
        raise UserError(msg)
    without = [p.name for p in cases if not is_evaluated(tasks.values(), p.case)]
    if without:
        fields = " or ".join(dict.fromkeys(name for t in tasks.values() for name in t.fields))
        msg = (
            f"only healthy cases and labelled ones with {fields} can be evaluated, got others: "
            f"{', '.join(without)}; add these labels and the role labelled to the manifest, or "
            f"leave them out"
        )
        raise UserError(msg)
