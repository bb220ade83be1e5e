"""The HTML report: one self-contained file, with its tables as files next to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from semilung import __version__
from semilung.arm_names import BASELINE
from semilung.evaluation import Metric
from semilung.evaluation.metrics import members
from semilung.files import require_inside, write_text
from semilung.report import case_choice, curves, plots, run_tables, sentences
from semilung.report import metric_tables as tables
from semilung.report.baseline import baseline_of, baseline_score
from semilung.report.caveats import list_caveats
from semilung.report.comparability import require_comparable
from semilung.report.compared_metrics import comparison_table, defined_metrics, records
from semilung.report.external_sets import external_tables
from semilung.report.formatting import quoted, unit_of_mean, without_folders
from semilung.report.metric_tables import Table
from semilung.report.operating_points import points_tables
from semilung.report.page_environment import page_environment
from semilung.report.plot_style import Style, assign_styles
from semilung.report.plots import Plot
from semilung.report.read_runs import read_study
from semilung.report.sizes import sizes_plot, sizes_tables
from semilung.report.study import Group, Study, blank
from semilung.types import UserError


class _Section(NamedTuple):
    """Plots and overlays of one setting."""

    label: str
    plots: dict[str, Plot]
    curves: list[Plot]
    best: str
    median: list[case_choice.Row]
    ranked: list[case_choice.Row]
    healthy: list[case_choice.Row]
    false_findings: list[case_choice.Row]


def write_html(
    folders: Sequence[Path],
    out: Path | None = None,
    *,
    split: str | None = None,
    metric: str | None = None,
) -> Path:
    """Write `index.html` and `tables/<name>.csv` and `.md` of a sweep, or of one or several runs.

    Args:
        folders: A sweep's folder alone, or run folders.
        out: Output folder; by default `report` in the first folder.
        split: `val` or `test`; see `read_study`.
        metric: Name of the metric by which arms are compared; by default the score of the first
            task, or the first defined metric if that is undefined, as without nodules.

    Returns:
        Path of the page.

    Raises:
        UserError: A folder is neither run nor sweep, a run was not evaluated, contenders were
            evaluated on different cases, a split leaks a patient, or the metric is unknown or
            undefined.
    """
    study = read_study(folders, split)
    caveats = [*list_caveats(study), *require_comparable(study)]
    defined = defined_metrics(study)
    main = _select_metric(metric, study, defined)
    external, errors = external_tables(study)
    caveats += errors
    comparisons = {metric: comparison_table(study, metric) for metric in defined}
    context = _context(study, main, comparisons, external)
    root = folders[0] if out is None else out
    out = out or folders[0] / "report"
    require_inside((out, out / "tables"), root)
    tables.write_tables(context["tables"].values(), out / "tables")
    page = page_environment().get_template("page.html.j2").render(**context, caveats=caveats)
    write_text(out / "index.html", page)
    return out / "index.html"


def _select_metric(name: str | None, study: Study, defined: Sequence[Metric]) -> Metric:
    """Return the metric of a name; the score, or else the first defined metric, of none."""
    names = ", ".join(metric.name for metric in defined) or "none"
    if name is None and defined:
        return study.score if study.score in defined else defined[0]
    chosen = next((metric for metric in defined if metric.name == name), None)
    if chosen is not None:
        return chosen
    if name is None or any(metric.name == name for metric in study.metrics):
        msg = (
            f"--metric {name or study.score.name} is undefined in at least one run; metrics "
            f"defined in all: {names}"
        )
        raise UserError(msg)
    raise UserError(f"--metric {name}: there is no such metric; the runs have: {names}")


def _context(
    study: Study,
    metric: Metric,
    comparisons: dict[Metric, pd.DataFrame],
    external: Sequence[Table],
) -> dict[str, Any]:
    """Return the variables of the template."""
    groups, main = study.groups, comparisons[metric]
    baseline = baseline_of(study.tasks, metric)
    means = {g.label: baseline and baseline_score(g, baseline, metric) for g in groups}
    baselines = {label: mean for label, mean in means.items() if mean is not None}
    named = {label: (baseline.name, mean) for label, mean in baselines.items()} if baseline else {}
    names = list(dict.fromkeys(name for group in groups for name in group.contenders))
    styles = assign_styles(names, groups[0].reference)
    sizes = sizes_tables(study)
    all_tables = [
        tables.arms_table(main, metric, baselines, baseline),
        tables.all_metrics_table(comparisons),
        tables.metrics_table(comparisons),
        *sizes,
        *points_tables(study),
        run_tables.cost_table(study),
        run_tables.audits_table(study),
        run_tables.settings_table(groups),
        run_tables.versions_table(study),
        run_tables.failures_table(study),
        *external,
    ]
    return {
        "study": study,
        "version": __version__,
        "metric": metric,
        "cases": int(main["n_cases"].max())
        if metric.population == "positive"
        else len(members(study.runs[0].cases, "positive")),
        "unit": unit_of_mean(metric),
        "score": study.score,
        "healthy": max(len(members(run.cases, "healthy")) for run in study.runs),
        "lead": sentences.lead(main, metric),
        "headline": sentences.headline(study, main, metric, baselines, baseline),
        "false_positives": sentences.healthy_statements(study, comparisons),
        "tables": {table.name: table for table in all_tables if table is not None},
        "plots": {plot.name: plot for plot in _overall_plots(study, comparisons, styles, sizes)},
        "sections": [
            _section(study, g, metric, comparisons, styles, named.get(g.label)) for g in groups
        ],
        "configs": {
            name: yaml.safe_dump(without_folders(runs[0].config), sort_keys=False)
            for name, runs in _first_configs(groups).items()
        },
        "commands": sentences.commands(study),
        "request": yaml.safe_dump(without_folders(study.request), sort_keys=False)
        if study.request
        else "",
    }


def _first_configs(groups: Sequence[Group]) -> dict[str, list[Any]]:
    return {
        ", ".join(filter(None, [name, group.label])): runs
        for group in groups
        for name, runs in group.contenders.items()
    }


def _section(
    study: Study,
    group: Group,
    metric: Metric,
    comparisons: dict[Metric, pd.DataFrame],
    styles: dict[str, Style],
    baseline: tuple[str, float] | None,
) -> _Section:
    rows = {m: table[table["setting"] == group.label] for m, table in comparisons.items()}
    main, score, alarms = rows[metric], study.score, study.false_positives
    kinds = [task.curve for task in study.tasks.values() if task.curve is not None]
    section_plots = [
        plots.forest(group, metric, main, styles, baseline),
        plots.strips(group, metric, styles),
        curves.learning(group, styles),
    ]
    if score in rows and alarms in rows:
        section_plots.append(plots.trade_off(score, rows[score], alarms, rows[alarms], styles))
    best = str(sentences.best_arm(records(main), metric)["arm"])
    arms = list(dict.fromkeys([group.reference, best]))
    return _Section(
        group.label,
        {plot.name: plot for plot in section_plots if plot is not None},
        [plot for kind in kinds if (plot := curves.of_kind(group, kind, styles)) is not None],
        quoted(best),
        case_choice.median_cases(group, [score, *([alarms] if alarms else [])], best),
        case_choice.ranked_cases(group, score, arms),
        case_choice.healthy_scans(group, alarms, arms) if alarms else [],
        case_choice.false_findings(group, arms),
    )


def _overall_plots(
    study: Study,
    comparisons: dict[Metric, pd.DataFrame],
    styles: dict[str, Style],
    sizes: Sequence[Table],
) -> list[Plot]:
    """Return plots over all settings: metrics against each swept count, sensitivity by size."""
    overall = [_against(axis, study, comparisons) for axis in study.axes if _is_count(axis, study)]
    single = [table for table in sizes if not table.data["setting"].any()]
    return [*overall, *(sizes_plot(table, styles) for table in single)]


def _is_count(axis: str, study: Study) -> bool:
    values = [run.values[axis] for run in study.runs]
    counts = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return len(counts) == len(values) and not any(map(blank, counts)) and len(set(counts)) > 1


def _against(axis: str, study: Study, comparisons: dict[Metric, pd.DataFrame]) -> Plot:
    lines: dict[tuple[str, str], tuple[str, Any]] = {}
    for group in study.groups:
        for name, runs in group.contenders.items():
            others = [f"{k}={v}" for k, v in runs[0].values.items() if k != axis]
            line = ", ".join([runs[0].arm, *others])
            lines[group.label, name] = (line, runs[0].values[axis])
    rows = {}
    for metric in (study.score, study.false_positives):
        if metric in comparisons:
            table = comparisons[metric].copy()
            keys = list(zip(table["setting"], table["arm"], strict=True))
            table["line"], table[axis] = [lines[k][0] for k in keys], [lines[k][1] for k in keys]
            rows[metric] = table
    names = list(dict.fromkeys(line for line, _ in lines.values()))
    reference = BASELINE if BASELINE in names else names[0]
    return curves.along(axis, rows, assign_styles(names, reference))
