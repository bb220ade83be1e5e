"""Results on further sets of scans: single cohorts of healthy scans, and other manifests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import pandas as pd

from semilung.evaluation.metrics import members
from semilung.report import metric_tables as tables
from semilung.report.comparability import require_comparable
from semilung.report.compared_metrics import comparison_table, defined_metrics
from semilung.report.metric_tables import Table
from semilung.report.study import Run, Study
from semilung.types import UserError


def external_tables(study: Study) -> tuple[list[Table], list[str]]:
    """Return a table per cohort of healthy scans, and per further set evaluated by all runs.

    Returns:
        The tables, and a sentence on each set that cannot be compared. Such a set is omitted
        without an error, because the user did not request it.
    """
    created, errors = [], []
    for name, description, subset in _sets(study):
        try:
            require_comparable(subset)
        except UserError as error:
            errors.append(f"There is no table of {description}: {error}")
            continue
        metrics = defined_metrics(subset)
        if metrics:
            safe = re.sub(r"[^\w.-]+", "_", name)
            caption = f"Metrics of each arm on {description}, with 95 % intervals"
            comparisons = {metric: comparison_table(subset, metric) for metric in metrics}
            created.append(tables.all_metrics_table(comparisons, f"figures-{safe}", caption))
    return created, errors


def _sets(study: Study) -> Iterator[tuple[str, str, Study]]:
    """Yield name, description and the study on each set."""
    for cohort in _healthy_cohorts(study):
        description = f"the healthy scans of cohort {cohort}"
        on_cohort = study.with_cases(partial(_cohort_cases, cohort=cohort))
        yield f"healthy-{cohort}", description, on_cohort
    for name in study.runs[0].external:
        if all(name in run.external for run in study.runs):
            yield name, f"the scans of {name}", study.with_cases(partial(_set_cases, name=name))


def _healthy_cohorts(study: Study) -> list[str]:
    """Return the cohorts of the healthy scans, or none if there is only one."""
    cases = study.runs[0].cases
    names = sorted(members(cases, "healthy")["cohort"].dropna().unique())
    return names if len(names) > 1 else []


def _cohort_cases(run: Run, *, cohort: str) -> pd.DataFrame:
    healthy = members(run.cases, "healthy")
    return healthy[healthy["cohort"] == cohort]


def _set_cases(run: Run, *, name: str) -> pd.DataFrame:
    return run.external[name]
