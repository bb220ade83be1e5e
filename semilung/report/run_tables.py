"""Tables of everything around the figures: cost, audits, settings, versions, failures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from semilung.nested import leaves
from semilung.report.formatting import NONE, counted, listed, number, without_folders
from semilung.report.metric_tables import Table
from semilung.report.study import Group, Run, Study

STATUSES = {"warning": "▲ warning", "ok": "● ok", "not applicable": "○ not applicable"}
"""Status of an audit by word and shape, the worst first."""


def cost_table(study: Study) -> Table | None:
    """Time and memory of each run; None where nothing is known."""
    keys = ("steps", "seconds", "peak_memory_mib", "peak_gpu_memory_mib", "threads")
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
    peaks = {"peak_memory_mib": "peak memory (MiB)", "peak_gpu_memory_mib": "on the GPU (MiB)"}
    if not data["peak_gpu_memory_mib"].gt(0).any():
        del peaks["peak_gpu_memory_mib"]
    rows = []
    for key, own in data.groupby(by, sort=False):
        means = own[["steps", "seconds"]].mean()
        rows.append(
            [*map(str, key), str(len(own)), number(means["steps"], 0),
             number(means["seconds"] / 60, 1), number(means["seconds"] / means["steps"], 2),
             *(number(own[peak].max(), 0) for peak in peaks)]
        )  # fmt: skip
    total = data["seconds"].sum() / 3600
    return Table(
        "cost",
        "What training took: means over runs, the largest peak of memory",
        [*by, "runs", "steps", "minutes", "seconds a step", *peaks.values()],
        rows,
        data,
        words=len(by),
        note=f"All runs together: {number(total, 2)} hours.",
    )


def audits_table(study: Study) -> Table | None:
    """What the audits found, warnings first; None where none was made.

    Runs of an arm whose sentences differ, in a number mostly, share a line with the first one's.
    """
    data = pd.DataFrame(
        [
            [run.name, run.arm, audit, told.get("status", ""), told.get("summary") or "",
             told.get("advice") or "", json.dumps(told.get("figures") or {}, sort_keys=True)]
            for run in study.runs
            for audit, told in without_folders(run.audits).items()
        ],
        columns=["run", "arm", "audit", "status", "summary", "advice", "figures"],
    )  # fmt: skip
    if data.empty:
        return None
    lines: dict[tuple[str, ...], list[str]] = {}
    for key, own in data.groupby(["status", "audit", "arm"], sort=False):
        status, audit, arm = map(str, key)
        summary, others = own["summary"].iloc[0], len(own["summary"].unique()) - 1
        if others:
            summary += f" ({own['run'].iloc[0]}; the others are in audits.csv)"
        whole = sum(run.arm == arm for run in study.runs)
        name = arm if len(own) == whole else f"{arm} ({len(own)} of {whole} runs)"
        lines.setdefault((status, audit, summary, own["advice"].iloc[0]), []).append(name)
    order = list(STATUSES)
    keys = sorted(lines, key=lambda k: (order.index(k[0]) if k[0] in order else -1, k[1]))
    rows = [
        [STATUSES.get(status, status), audit.replace("_", " "), summary, advice,
         "all" if lines[key] == study.arms else "; ".join(lines[key])]
        for key in keys
        for status, audit, summary, advice in [key]
    ]  # fmt: skip
    header = ["status", "audit", "found", "advice", "arms"]
    return Table("audits", "Audits, warnings first", header, rows, data, words=5)


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
    return str(values[key]) if key in values else NONE


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
