"""The HTML report: one self-contained file, with its tables as files next to it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from semilung import __version__
from semilung.arm_names import BASELINE
from semilung.files import require_inside, write_text
from semilung.report import case_choice, curves, plots, run_tables, sentences
from semilung.report import metric_tables as tables
from semilung.report.ball_rows import ball_dice
from semilung.report.caveats import list_caveats
from semilung.report.comparability import require_comparable
from semilung.report.compared_metrics import (
    METRICS,
    Metric,
    comparison_table,
    defined_metrics,
    records,
)
from semilung.report.external_sets import external_tables
from semilung.report.formatting import quoted, without_folders
from semilung.report.metric_tables import Table
from semilung.report.plot_style import Style, assign_styles
from semilung.report.plots import Plot
from semilung.report.read_runs import read_study
from semilung.report.study import Group, Study, blank
from semilung.types import UserError


class _Section(NamedTuple):
    """Plots and overlays of one setting."""

    label: str
    plots: dict[str, Plot]
    best: str
    median: list[case_choice.Row]
    ranked: list[case_choice.Row]
    healthy: list[case_choice.Row]


def write_html(
    folders: Sequence[Path],
    out: Path | None = None,
    *,
    split: str | None = None,
    metric: str = "dice",
) -> Path:
    """Write `index.html` and `tables/<name>.csv` and `.md` of a sweep, or of one or several runs.

    Args:
        folders: A sweep's folder alone, or run folders.
        out: Output folder; by default `report` in the first folder.
        split: `val` or `test`; see `read_study`.
        metric: Key of `METRICS` by which arms are compared. If the default is undefined because no
            case with a nodule was evaluated, the first defined metric is used.

    Returns:
        Path of the page.

    Raises:
        UserError: A folder is neither run nor sweep, a run was not evaluated, contenders were
            evaluated on different cases, a split leaks a patient, or the metric is unknown or
            undefined.
    """
    study = read_study(folders, split)
    caveats = [*list_caveats(study), *require_comparable(study)]
    defined = defined_metrics(study.runs)
    main = _select_metric(metric, defined)
    external, errors = external_tables(study)
    caveats += errors
    comparisons = {metric: comparison_table(study, metric) for metric in defined}
    context = _context(study, main, comparisons, external)
    root = folders[0] if out is None else out
    out = out or folders[0] / "report"
    require_inside((out, out / "tables"), root)
    tables.write_tables(context["tables"].values(), out / "tables")
    page = _environment().get_template("page.html.j2").render(**context, caveats=caveats)
    write_text(out / "index.html", page)
    return out / "index.html"


def _select_metric(name: str, defined: Sequence[Metric]) -> Metric:
    names = ", ".join(metric.name for metric in defined) or "none"
    if name not in METRICS:
        msg = f"--metric {name}: there is no such metric; the runs have: {names}"
        raise UserError(msg)
    if METRICS[name] in defined:
        return METRICS[name]
    if name == "dice" and defined:
        return defined[0]
    msg = f"--metric {name} is undefined in at least one run; metrics defined in all: {names}"
    raise UserError(msg)


def _context(
    study: Study,
    metric: Metric,
    comparisons: dict[Metric, pd.DataFrame],
    external: Sequence[Table],
) -> dict[str, Any]:
    """Return the variables of the template."""
    groups, main = study.groups, comparisons[metric]
    balls = {g.label: ball_dice(g) for g in groups} if metric.name == "dice" else {}
    ball = {label: mean for label, mean in balls.items() if mean is not None}
    names = list(dict.fromkeys(name for group in groups for name in group.contenders))
    styles = assign_styles(names, groups[0].reference)
    dice, healthy = (comparisons.get(METRICS[name]) for name in ("dice", "healthy_fp_mm3"))
    sizes = tables.sizes_table(groups)
    all_tables = [
        tables.arms_table(main, metric, ball),
        tables.all_metrics_table(comparisons),
        tables.metrics_table(comparisons),
        sizes,
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
        "cases": int(main["n_cases"].max()),
        "healthy": 0 if healthy is None else int(healthy["n_cases"].max()),
        "lead": sentences.lead(main, metric),
        "headline": sentences.headline(study, main, metric, ball),
        "false_positives": sentences.false_positives(study, healthy, dice),
        "tables": {table.name: table for table in all_tables if table is not None},
        "plots": {plot.name: plot for plot in _overall_plots(study, comparisons, styles, sizes)},
        "sections": [_section(g, metric, comparisons, styles, ball.get(g.label)) for g in groups],
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
    group: Group,
    metric: Metric,
    comparisons: dict[Metric, pd.DataFrame],
    styles: dict[str, Style],
    ball: float | None,
) -> _Section:
    rows = {m.name: table[table["setting"] == group.label] for m, table in comparisons.items()}
    main = rows[metric.name]
    section_plots = [
        plots.forest(group, metric, main, styles, float("nan") if ball is None else ball),
        plots.strips(group, metric, styles),
        curves.learning(group, styles),
    ]
    if {"dice", "healthy_fp_mm3"} <= set(rows):
        section_plots.append(plots.trade_off(rows["dice"], rows["healthy_fp_mm3"], styles))
    best = str(sentences.best_arm(records(main), metric)["arm"])
    arms = list(dict.fromkeys([group.reference, best]))
    return _Section(
        group.label,
        {plot.name: plot for plot in section_plots if plot is not None},
        quoted(best),
        case_choice.median_cases(group, best),
        case_choice.ranked_cases(group, arms),
        case_choice.healthy_scans(group, arms),
    )


def _overall_plots(
    study: Study,
    comparisons: dict[Metric, pd.DataFrame],
    styles: dict[str, Style],
    sizes: Table | None,
) -> list[Plot]:
    """Return plots over all settings: metrics against each swept count, sensitivity by size."""
    overall = [_against(axis, study, comparisons) for axis in study.axes if _is_count(axis, study)]
    if sizes is not None and not sizes.data["setting"].any():
        overall.append(plots.sizes(sizes.data, styles))
    return overall


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
    for name in ("dice", "healthy_fp_mm3"):
        if METRICS[name] in comparisons:
            table = comparisons[METRICS[name]].copy()
            keys = list(zip(table["setting"], table["arm"], strict=True))
            table["line"], table[axis] = [lines[k][0] for k in keys], [lines[k][1] for k in keys]
            rows[name] = table
    names = list(dict.fromkeys(line for line, _ in lines.values()))
    reference = BASELINE if BASELINE in names else names[0]
    return curves.along(axis, rows, assign_styles(names, reference))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("semilung.report", "page_files"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg_uri"] = _svg_uri
    return environment


def _svg_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
