"""The comparison of arms by a metric, and its table of cases."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd

from semilung.evaluation import Metric, compare_arms, holm
from semilung.report.differing_settings import confounded
from semilung.report.study import Group, Study


def defined_metrics(study: Study) -> list[Metric]:
    """Return the reported metrics of which every run has at least one defined value."""
    return [
        metric
        for metric in study.metrics
        if all(_is_defined(run.rows(metric), metric) for run in study.runs)
    ]


def long_table(group: Group, metric: Metric, *, best: bool = False) -> pd.DataFrame:
    """Return columns arm, seed, case, instance of lesions, and the metric, one row for each.

    Args:
        group: Comparable runs.
        metric: Metric to select, with its cases.
        best: Use the best checkpoint; runs without an evaluation of it are omitted.
    """
    unit = ["case", "instance"] if metric.population == "lesions" else ["case"]
    parts = []
    for name, runs in group.contenders.items():
        for run in runs:
            rows = run.rows(metric, best=best)
            if metric.column in rows:
                parts.append(rows[[*unit, metric.column]].assign(arm=name, seed=run.seed))
    columns = ["arm", "seed", *unit, metric.column]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)


def seed_means(cases: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Return columns arm, case, instance of lesions, and the metric averaged over seeds."""
    keys = [key for key in ("arm", "case", "instance") if key in cases]
    return cases.groupby(keys, sort=False)[metric.column].mean().reset_index()


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as dictionaries."""
    return cast("list[dict[str, Any]]", table.to_dict("records"))


def comparison_table(study: Study, metric: Metric) -> pd.DataFrame:
    """Compare the contenders of each setting by `semilung.evaluation.compare_arms`.

    Returns:
        One row per contender: `setting`, `best_mean` (best checkpoint; NaN if not evaluated), the
        columns of `compare_arms`, and `other_settings`: the settings in which it differs from the
        reference apart from those that name it, joined by commas. If there are any, the strategy is
        confounded with them, so p is NaN and not counted in Holm's correction.
    """
    tables = [_compared(group, metric, confounded(study, group)) for group in study.groups]
    return pd.concat(tables, ignore_index=True)


def _compared(group: Group, metric: Metric, confounders: dict[str, list[str]]) -> pd.DataFrame:
    cases = long_table(group, metric)
    table = compare_arms(cases, metric=metric.column, reference=group.reference)
    table = table.set_index("arm").loc[list(group.contenders)].reset_index()
    with_best = [
        name for name, runs in group.contenders.items() if all(r.best is not None for r in runs)
    ]
    best = seed_means(long_table(group, metric, best=True), metric)
    means = best.groupby("arm")[metric.column].mean().reindex(with_best)
    table.insert(0, "setting", group.label)
    table.insert(2, "best_mean", table["arm"].map(means).astype(float))
    table["other_settings"] = [", ".join(confounders.get(name, [])) for name in table["arm"]]
    table["p"] = table["p"].where(table["other_settings"] == "")
    return table.assign(p_holm=holm(table["p"]))


def _is_defined(rows: pd.DataFrame, metric: Metric) -> bool:
    return metric.column in rows and bool(rows[metric.column].notna().any())
