"""The page: one HTML file with everything in it, and its tables as files beside it."""

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
from semilung.report import case_choice as pictures
from semilung.report import curves, plots
from semilung.report import metric_tables as tables
from semilung.report import run_tables as ledger
from semilung.report import sentences as words
from semilung.report.ball_rows import ball_dice
from semilung.report.caveats import list_caveats
from semilung.report.comparability import require_fair
from semilung.report.compared_metrics import FIGURES, Figure, compared, known, records
from semilung.report.external_sets import elsewhere
from semilung.report.formatting import named, without_folders
from semilung.report.metric_tables import Table
from semilung.report.plot_style import Look, looks
from semilung.report.plots import Plot
from semilung.report.read_runs import read_study
from semilung.report.study import Group, Study, blank
from semilung.types import UserError


class _Section(NamedTuple):
    """The visual parts of one setting."""

    label: str
    plots: dict[str, Plot]
    best: str
    typical: list[pictures.Row]
    segmented: list[pictures.Row]
    healthy: list[pictures.Row]


def write_html(
    folders: Sequence[Path],
    out: Path | None = None,
    *,
    split: str | None = None,
    figure: str = "dice",
) -> Path:
    """Write `index.html` and `tables/<name>.csv` and `.md` of a sweep, or of one or several runs.

    Args:
        folders: A sweep's folder alone, or run folders.
        out: Where to; by default `report` within the first folder.
        split: `val` or `test`; see `read_study`.
        figure: Name of the metric that arms are compared by, of `FIGURES`; where no case with a
            nodule was evaluated and the default has no values, the first that has.

    Returns:
        The page.

    Raises:
        UserError: A folder is neither run nor sweep, a run was never judged, contenders were judged
            on different cases, a split leaks a patient, or the figure is unknown or undefined.
    """
    study = read_study(folders, split)
    caveats = [*list_caveats(study), *require_fair(study)]
    measured = known(study.runs)
    without_nodules = FIGURES["dice"] not in measured and figure == "dice"
    chosen = next((f for f in measured if f.name == figure or without_nodules), None)
    if chosen is None:
        found = ", ".join(f.name for f in measured) or "none"
        told = "no such figure" if figure not in FIGURES else "it is undefined in some run"
        msg = f"--figure {figure}: {told}; these runs have: {found}"
        raise UserError(msg)
    beside, refused = elsewhere(study)
    caveats += refused
    context = _context(study, chosen, {f: compared(study, f) for f in measured}, beside)
    root = folders[0] if out is None else out
    out = out or folders[0] / "report"
    require_inside((out, out / "tables"), root)
    tables.write_tables(context["tables"].values(), out / "tables")
    page = _environment().get_template("page.html.j2").render(**context, caveats=caveats)
    write_text(out / "index.html", page)
    return out / "index.html"


def _context(
    study: Study, figure: Figure, found: dict[Figure, pd.DataFrame], beside: Sequence[Table]
) -> dict[str, Any]:
    """What the template shows."""
    groups, main = study.groups, found[figure]
    balls = {g.label: ball_dice(g) for g in groups} if figure.name == "dice" else {}
    ball = {label: mean for label, mean in balls.items() if mean is not None}
    names = list(dict.fromkeys(name for group in groups for name in group.contenders))
    seen = looks(names, groups[0].reference)
    dice, alarms = (found.get(FIGURES[name]) for name in ("dice", "healthy_fp_mm3"))
    made = [
        tables.arms_table(main, figure, ball),
        tables.figures_table(found),
        tables.metrics_table(found),
        tables.sizes_table(groups),
        ledger.cost_table(study),
        ledger.audits_table(study),
        ledger.settings_table(groups),
        ledger.versions_table(study),
        ledger.failures_table(study),
        *beside,
    ]
    overall = list(_overall(study, found, seen, made[3]))
    return {
        "study": study,
        "version": __version__,
        "figure": figure,
        "cases": int(main["n_cases"].max()),
        "healthy": 0 if alarms is None else int(alarms["n_cases"].max()),
        "lead": words.lead(main, figure),
        "headline": words.headline(study, main, figure, ball),
        "silence": words.silence(study, alarms, dice),
        "tables": {table.name: table for table in made if table is not None},
        "plots": {plot.name: plot for plot in overall},
        "sections": [_section(g, figure, found, seen, ball.get(g.label)) for g in groups],
        "configs": {
            name: yaml.safe_dump(without_folders(runs[0].config), sort_keys=False)
            for name, runs in _first_configs(groups).items()
        },
        "commands": words.commands(study),
        "asked": yaml.safe_dump(without_folders(study.asked), sort_keys=False)
        if study.asked
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
    figure: Figure,
    found: dict[Figure, pd.DataFrame],
    seen: dict[str, Look],
    ball: float | None,
) -> _Section:
    own = {f.name: rows[rows["setting"] == group.label] for f, rows in found.items()}
    main = own[figure.name]
    drawn = [
        plots.forest(group, figure, main, seen, float("nan") if ball is None else ball),
        plots.strips(group, figure, seen),
        curves.learning(group, seen),
    ]
    if {"dice", "healthy_fp_mm3"} <= set(own):
        drawn.append(plots.trade_off(own["dice"], own["healthy_fp_mm3"], seen))
    best = str(words.best_arm(records(main), figure)["arm"])
    arms = list(dict.fromkeys([group.reference, best]))
    return _Section(
        group.label,
        {plot.name: plot for plot in drawn if plot is not None},
        named(best),
        pictures.typical(group, best),
        pictures.segmented(group, arms),
        pictures.healthy(group, arms),
    )


def _overall(
    study: Study, found: dict[Figure, pd.DataFrame], seen: dict[str, Look], sizes: Table | None
) -> list[Plot]:
    """Plots across settings: against each swept count, and lesions found by size."""
    drawn = [_against(axis, study, found) for axis in study.axes if _is_count(axis, study)]
    if sizes is not None and not sizes.data["setting"].any():
        drawn.append(plots.sizes(sizes.data, seen))
    return drawn


def _is_count(axis: str, study: Study) -> bool:
    values = [run.values[axis] for run in study.runs]
    counts = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return len(counts) == len(values) and not any(map(blank, counts)) and len(set(counts)) > 1


def _against(axis: str, study: Study, found: dict[Figure, pd.DataFrame]) -> Plot:
    lines: dict[tuple[str, str], tuple[str, Any]] = {}
    for group in study.groups:
        for name, runs in group.contenders.items():
            others = [f"{k}={v}" for k, v in runs[0].values.items() if k != axis]
            line = ", ".join([runs[0].arm, *others])
            lines[group.label, name] = (line, runs[0].values[axis])
    rows = {}
    for name in ("dice", "healthy_fp_mm3"):
        if FIGURES[name] in found:
            own = found[FIGURES[name]].copy()
            keys = list(zip(own["setting"], own["arm"], strict=True))
            own["line"], own[axis] = [lines[k][0] for k in keys], [lines[k][1] for k in keys]
            rows[name] = own
    names = list(dict.fromkeys(line for line, _ in lines.values()))
    reference = BASELINE if BASELINE in names else names[0]
    return curves.along(axis, rows, looks(names, reference))


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
