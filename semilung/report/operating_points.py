"""False positives at chosen sensitivities, with the threshold that reaches each."""

from __future__ import annotations

import pandas as pd

from semilung.evaluation import Report
from semilung.report.formatting import NONE, number
from semilung.report.metric_tables import Table
from semilung.report.study import Group, Study
from semilung.tasks import CurveKind


def points_tables(study: Study) -> list[Table]:
    """Return the operating points of each task with a curve, if its findings were evaluated."""
    tables = []
    for name, task in study.tasks.items():
        if task.curve is not None:
            parts = [_points(group, task.curve) for group in study.groups]
            data = pd.concat(parts, ignore_index=True)
            if len(data):
                tables.append(_table(study.table_name("operating-points", name), data))
    return tables


def _points(group: Group, kind: CurveKind) -> pd.DataFrame:
    """Return the points of each run of a group."""
    parts = [
        kind.points(Report(run.cases, run.lesions, findings=run.findings)).assign(
            setting=group.label, arm=name, seed=run.seed, run=run.name
        )
        for name, runs in group.contenders.items()
        for run in runs
        if len(run.findings.columns) and len(run.lesions)
    ]
    return pd.concat(parts) if parts else pd.DataFrame()


def _table(name: str, data: pd.DataFrame) -> Table:
    grouped = bool(data["setting"].any())
    keys = ["setting", "arm"] if grouped else ["arm"]
    rows = [
        [*map(str, key[:-1]), f"{key[-1]:g}", *_cells(runs)]
        for key, runs in data.groupby([*keys, "target"], sort=False)
    ]
    # folds of a seed have scans of their own
    totals = data.groupby([*keys, "seed", "target"])[["n_positive", "n_healthy"]].sum().max()
    return Table(
        name,
        "Thresholds by sensitivity, with the false positives at each",
        [
            *keys,
            "sensitivity of at least",
            "threshold",
            "sensitivity reached",
            f"false positives per scan with nodules (n={totals['n_positive']})",
            f"false positives per healthy scan (n={totals['n_healthy']})",
        ],
        rows,
        data,
        text_columns=len(keys),
        note=(
            "A threshold is the largest probability that so many of the evaluated nodules reach. "
            "Values are means over runs; where a run does not reach a sensitivity at any "
            "threshold, there are none."
        ),
    )


def _cells(runs: pd.DataFrame) -> list[str]:
    """Return threshold, sensitivity and false positives: means over runs that all reach it."""
    lacking = int(runs["threshold"].isna().sum())
    if lacking:
        some = f" in {lacking} of {len(runs)} runs" if lacking < len(runs) else ""
        return [f"not reached{some}", NONE, NONE, NONE]
    columns = {"threshold": 3, "sensitivity": 3, "fp_positive": 2, "fp_healthy": 2}
    return [number(float(runs[column].mean()), digits) for column, digits in columns.items()]
