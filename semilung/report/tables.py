"""Every table of a report: as text for the page and Markdown, as figures for the CSV."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from semilung.evaluation import size_bins
from semilung.files import write_text
from semilung.report.figures import FIGURES, Figure
from semilung.report.read import leaves
from semilung.report.study import Group, Run, Study
from semilung.report.text import (
    between,
    counted,
    listed,
    number,
    p_value,
    signed,
    size,
    without_folders,
)

STATUSES = {"warning": "▲ warning", "ok": "● ok", "not applicable": "○ not applicable"}
"""Status of an audit by word and shape, the worst first."""


@dataclass(frozen=True)
class Table:
    """Cells as text, and the figures behind them.

    Attributes:
        name: Of its files.
        caption: What it shows.
        header: Names of the columns.
        rows: Cells, as many a row as the header has.
        data: What the CSV holds.
        words: How many columns from the left hold words; the others hold figures.
        note: What to know to read it.
    """

    name: str
    caption: str
    header: list[str]
    rows: list[list[str]]
    data: pd.DataFrame
    words: int = 1
    note: str = ""

    def markdown(self) -> str:
        """As a Markdown table."""
        rule = ["---"] * self.words + ["--:"] * (len(self.header) - self.words)
        lines = [self.header, rule, *self.rows]
        return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines) + "\n"


def write_tables(tables: Iterable[Table], folder: Path) -> None:
    """Write `<name>.csv` and `<name>.md` of each."""
    for table in tables:
        write_text(folder / f"{table.name}.csv", table.data.to_csv(index=False))
        write_text(folder / f"{table.name}.md", table.markdown())


def arms_table(found: pd.DataFrame, figure: Figure, ball: dict[str, float]) -> Table:
    """Mean, paired difference and p of every arm by the figure of the report.

    Args:
        found: What `compared` returns.
        figure: What it was compared by.
        ball: Setting to the mean of the content-blind ball; empty where there is none.
    """
    d, grouped = figure.digits, found["setting"].any()
    rows, last = [], None
    for row in found.to_dict("records"):
        if last is not None and row["setting"] != last:
            rows += _ball_row(ball, last, grouped, d)
        last = row["setting"]
        cells = [
            row["arm"],
            str(row["n_seeds"]),
            str(row["n_cases"]),
            number(row["mean"], d),
            between(row["low"], row["high"], d),
            signed(row["difference"], d),
            between(row["difference_low"], row["difference_high"], d),
            p_value(row["p"]),
            p_value(row["p_holm"]),
            number(row["best_mean"], d),
        ]
        rows.append([row["setting"], *cells] if grouped else cells)
    rows += _ball_row(ball, last, grouped, d)
    header = [
        "arm", "seeds", "cases", figure.title, "95 % interval", "difference", "95 % interval",
        "p", "p (Holm)", f"{figure.label}, best checkpoint",
    ]  # fmt: skip
    note = (
        "Last checkpoint, but for the last column. Seeds are averaged within a case before arms "
        "are paired by case. Intervals: hierarchical bootstrap over seeds and cases. p: Wilcoxon "
        "signed rank, then Holm's correction over the arms of a setting."
    )
    if ball:
        note += (
            " The content-blind ball never looks at the image: one ball, its place and size fitted "
            "on every training mask of the manifest."
        )
    return Table(
        "arms",
        f"{figure.label} of each arm, and its paired difference from the reference arm",
        ["setting", *header] if grouped else header,
        rows,
        found,
        words=2 if grouped else 1,
        note=note,
    )


def _ball_row(ball: dict[str, float], setting: str, grouped: bool, digits: int) -> list[list[str]]:
    if setting not in ball:
        return []
    cells = ["content-blind ball", "–", "–", number(ball[setting], digits), *[""] * 6]
    return [[setting, *cells] if grouped else cells]


def figures_table(
    found: dict[Figure, pd.DataFrame],
    name: str = "figures",
    caption: str = "All figures of each arm, with 95 % intervals",
) -> Table:
    """The mean of each figure of each arm with its interval."""
    first = next(iter(found.values()))
    grouped = first["setting"].any()
    rows = []
    for position, row in enumerate(first.to_dict("records")):
        cells = []
        for figure, table in found.items():
            own = table.iloc[position]
            low_high = between(own["low"], own["high"], figure.digits)
            cells.append(
                number(own["mean"], figure.digits) + (f" ({low_high})" if low_high else "")
            )
        rows.append([row["setting"], row["arm"], *cells] if grouped else [row["arm"], *cells])
    data = pd.concat([table.assign(figure=f.name) for f, table in found.items()])
    header = [figure.title for figure in found]
    return Table(
        name,
        caption,
        ["setting", "arm", *header] if grouped else ["arm", *header],
        rows,
        data,
        words=2 if grouped else 1,
        note="HD95 is undefined where nothing was predicted: read it beside the Dice."
        if FIGURES["hd95_mm"] in found
        else "",
    )


def sizes_table(groups: Sequence[Group]) -> Table | None:
    """Sensitivity by diameter; None where no lesion was judged."""
    parts = []
    for group in groups:
        lesions = [
            run.lesions.assign(arm=name, seed=run.seed)
            for name, runs in group.contenders.items()
            for run in runs
            if len(run.lesions)
        ]
        if lesions:
            parts.append(size_bins(pd.concat(lesions)).assign(setting=group.label))
    if not parts:
        return None
    data = pd.concat(parts, ignore_index=True)
    data = data[data["n_lesions"] > 0]
    wide: dict[tuple[str, str], list[str]] = {}
    for row in data.to_dict("records"):
        text = f"{number(row['sensitivity'], 2)} ({between(row['low'], row['high'], 2)})"
        wide.setdefault((row["setting"], row["arm"]), []).append(text)
    counts = data.drop_duplicates("size").set_index("size")["n_lesions"]
    grouped = data["setting"].any()
    return Table(
        "sizes",
        "Share of lesions found, by diameter, with 95 % intervals",
        [
            *(["setting"] if grouped else []),
            "arm",
            *(f"{size(s)} (n={n})" for s, n in counts.items()),
        ],
        [[*(key if grouped else key[1:]), *cells] for key, cells in wide.items()],
        data,
        words=2 if grouped else 1,
    )


def cost_table(study: Study) -> Table | None:
    """Time and memory of each run; None where nothing is known."""
    keys = ("steps", "seconds", "peak_memory_mib", "threads")
    data = pd.DataFrame(
        [
            {"run": run.name, "arm": run.arm, "seed": run.seed, **run.values}
            | {key: float(run.cost.get(key, "nan")) for key in keys}
            for run in study.runs
        ]
    )
    if not data["seconds"].notna().any():
        return None
    by = ["arm", *study.axes]
    rows = []
    for key, own in data.groupby(by, sort=False):
        means = own[["steps", "seconds", "peak_memory_mib"]].mean()
        rows.append(
            [*map(str, key), str(len(own)), number(means["steps"], 0),
             number(means["seconds"] / 60, 1), number(means["seconds"] / means["steps"], 2),
             number(own["peak_memory_mib"].max(), 0)]
        )  # fmt: skip
    total = data["seconds"].sum() / 3600
    return Table(
        "cost",
        "What training took: means over runs, the largest peak of memory",
        [*by, "runs", "steps", "minutes", "seconds a step", "peak memory (MiB)"],
        rows,
        data,
        words=len(by),
        note=f"All runs together: {number(total, 2)} hours.",
    )


def audits_table(study: Study) -> Table | None:
    """What the audits found, warnings first; None where none was made."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    data = []
    for run in study.runs:
        for audit, told in without_folders(run.audits).items():
            status = str(told.get("status", ""))
            text = (str(told.get("summary") or ""), str(told.get("advice") or ""))
            found.setdefault((status, audit, *text), []).append(run.name)
            figures = json.dumps(told.get("figures"), sort_keys=True)
            data.append([run.name, run.arm, audit, status, *text, figures])
    if not found:
        return None
    order = list(STATUSES)
    keys = sorted(found, key=lambda k: (order.index(k[0]) if k[0] in order else -1, k[1]))
    rows = [
        [STATUSES.get(key[0], key[0]), key[1].replace("_", " "), *key[2:], _runs(found[key], study)]
        for key in keys
    ]
    columns = ["run", "arm", "audit", "status", "summary", "advice", "figures"]
    return Table(
        "audits",
        "Audits, warnings first",
        ["status", "audit", "found", "advice", "runs"],
        rows,
        pd.DataFrame(data, columns=columns),
        words=5,
    )


def _runs(names: Sequence[str], study: Study) -> str:
    """Which runs: all, whole arms by their name, others by their own."""
    if len(names) == len(study.runs):
        return "all"
    told = []
    for arm in study.arms:
        own = [run.name for run in study.runs if run.arm == arm]
        hit = [name for name in own if name in names]
        told += [arm] if len(hit) == len(own) else hit
    return "; ".join(told)


def settings_table(groups: Sequence[Group]) -> Table | None:
    """Settings that differ between contenders; None where none does."""
    first: dict[str, Run] = {}
    for group in groups:
        for name, runs in group.contenders.items():
            label = ", ".join(filter(None, [name, group.label]))
            first.setdefault(label, runs[0])
    flat = {label: leaves(without_folders(run.config)) for label, run in first.items()}
    keys = list(dict.fromkeys(key for values in flat.values() for key in values))
    differing = [
        key
        for key in keys
        if key != "seed" and len({repr(values.get(key)) for values in flat.values()}) > 1
    ]
    if not differing:
        return None
    rows = [[key, *(_value(values, key) for values in flat.values())] for key in differing]
    header = ["setting", *flat]
    return Table(
        "settings",
        "Settings that differ between arms",
        header,
        rows,
        pd.DataFrame(rows, columns=header),
        words=len(header),
    )


def _value(values: dict[str, Any], key: str) -> str:
    return str(values[key]) if key in values else "–"


def versions_table(study: Study) -> Table | None:
    """Versions and revision behind the runs, one column where all agree."""
    found: dict[str, list[str]] = {}
    for run in study.runs:
        told = run.provenance
        if told:
            pairs = {"git revision": told.get("git_revision"), "python": told.get("python")}
            pairs |= told.get("versions") or {}
            pairs |= {"machine": told.get("machine"), "CPU cores": told.get("cpu_count")}
            for key, value in pairs.items():
                found.setdefault(key, []).append("unknown" if value is None else str(value))
    if not found:
        return None
    rows = [[key, listed(dict.fromkeys(values))] for key, values in found.items()]
    data = pd.DataFrame(rows, columns=["what", "version"])
    return Table("versions", "Versions behind the runs", ["what", "version"], rows, data, words=2)


def failures_table(study: Study) -> Table | None:
    """Runs that failed; None where none did."""
    if study.failures.empty:
        return None
    data = study.failures.map(without_folders)
    rows = [[str(cell) for cell in row] for row in data.itertuples(index=False)]
    caption = f"{counted(len(rows), 'run')} failed and took no part"
    return Table("failures", caption, list(data.columns), rows, data, words=len(data.columns))


def _escaped(cell: str) -> str:
    """A cell that cannot break out of a Markdown table, nor be read as HTML."""
    for bad, good in (("|", "\\|"), ("\n", " "), ("\xa0", " "), ("<", "&lt;"), (">", "&gt;")):
        cell = cell.replace(bad, good)
    return cell
