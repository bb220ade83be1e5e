"""What runs find on scans beside those of the split: single healthy cohorts, other manifests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import pandas as pd

from semilung.report import metric_tables as tables
from semilung.report.comparability import require_fair
from semilung.report.compared_metrics import compared, known
from semilung.report.metric_tables import Table
from semilung.report.study import Run, Study
from semilung.types import UserError


def elsewhere(study: Study) -> tuple[list[Table], list[str]]:
    """A table for each cohort of healthy scans, and for each other set that all were judged on.

    Returns:
        The tables, and a sentence on each set that cannot be compared: nobody asked for it, so it
        is left out and the page is made without.
    """
    made, refused = [], []
    for name, where, other in _sets(study):
        try:
            require_fair(other)
        except UserError as error:
            refused.append(f"No table on {where}: {error}")
            continue
        found = {figure: compared(other, figure) for figure in known(other.runs)}
        if found:
            safe = re.sub(r"[^\w.-]+", "_", name)
            caption = f"On {where}, with 95 % intervals"
            made.append(tables.figures_table(found, f"figures-{safe}", caption))
    return made, refused


def _sets(study: Study) -> Iterator[tuple[str, str, Study]]:
    """Name, what it is in a sentence, and the runs as they were judged on it."""
    for cohort in _healthy_cohorts(study):
        where = f"the healthy scans of cohort {cohort}"
        yield f"healthy-{cohort}", where, study.on(partial(_of_cohort, cohort=cohort))
    for name in study.runs[0].elsewhere:
        if all(name in run.elsewhere for run in study.runs):
            yield name, f"the scans of {name}", study.on(partial(_judged_on, name=name))


def _healthy_cohorts(study: Study) -> list[str]:
    """Cohorts of the healthy scans, where there are several."""
    cases = study.runs[0].cases
    names = sorted(cases.loc[cases["reference_volume_mm3"] == 0, "cohort"].dropna().unique())
    return names if len(names) > 1 else []


def _of_cohort(run: Run, *, cohort: str) -> pd.DataFrame:
    return run.cases[(run.cases["cohort"] == cohort) & (run.cases["reference_volume_mm3"] == 0)]


def _judged_on(run: Run, *, name: str) -> pd.DataFrame:
    return run.elsewhere[name]
