"""Tables of runs: cost, audits, settings, versions and failures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from semilung.report.formatting import NONE, counted, listed, number, without_folders
from semilung.report.metric_tables import Table
from semilung.report.study import Group, Run, Study

STATUSES = {"warning": "▲ warning", "ok": "● ok", "not applicable": "○ not applicable"}
"""Status of an audit as symbol and text, the worst first."""


def cost_table(study: Study) -> Table | None:
    """Return time and memory of training by arm; None if unknown."""
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
    for key, group in data.groupby(by, sort=False):
        means = group[["steps", "seconds"]].mean()
        rows.append(
            [*map(str, key), str(len(group)), number(means["steps"], 0),
             number(means["seconds"] / 60, 1), number(means["seconds"] / means["steps"], 2),
             *(number(group[peak].max(), 0) for peak in peaks)]
        )  # fmt: skip
    total = data["seconds"].sum() / 3600
    return Table(
        "cost",
        "Training time (mean over runs) and peak memory (maximum over runs)",
        [*by, "runs", "steps", "minutes", "seconds per step", *peaks.values()],
        rows,
        data,
        text_columns=len(by),
        note=f"Total training time: {number(total, 2)} hours.",
    )


def audits_table(study: Study) -> Table | None:
    """Return the results of audits, warnings first; None if there are none.

    Runs of an arm with equal status share a row, which shows the summary of the first run.
    """
    data = pd.DataFrame(
        [
            [run.name, run.arm, audit, result.get("status", ""), result.get("summary") or "",
             result.get("advice") or "", json.dumps(result.get("figures") or {}, sort_keys=True)]
            for run in study.runs
            for audit, result in without_folders(run.audits).items()
        ],
        columns=["run", "arm", "audit", "status", "summary", "advice", "figures"],
    )  # fmt: skip
    if data.empty:
        return None
    lines: dict[tuple[str, ...], list[str]] = {}
    for key, group in data.groupby(["status", "audit", "arm"], sort=False):
        status, audit, arm = map(str, key)
        summary, others = group["summary"].iloc[0], len(group["summary"].unique()) - 1
        if others:
            summary += f" ({group['run'].iloc[0]}; other runs: audits.csv)"
        total = sum(run.arm == arm for run in study.runs)
        name = arm if len(group) == total else f"{arm} ({len(group)} of {total} runs)"
        lines.setdefault((status, audit, summary, group["advice"].iloc[0]), []).append(name)
    order = list(STATUSES)
    keys = sorted(lines, key=lambda k: (order.index(k[0]) if k[0] in order else -1, k[1]))
    rows = [
        [STATUSES.get(status, status), audit.replace("_", " "), summary, advice,
         "all" if lines[key] == study.arms else "; ".join(lines[key])]
        for key in keys
        for status, audit, summary, advice in [key]
    ]  # fmt: skip
    header = ["status", "audit", "result", "advice", "arms"]
    return Table("audits", "Results of audits, warnings first", header, rows, data, text_columns=5)


def settings_table(groups: Sequence[Group]) -> Table | None:
    """Return the settings that differ between contenders; None if there are none."""
    first: dict[str, Run] = {}
    for group in groups:
        for name, runs in group.contenders.items():
            label = ", ".join(filter(None, [name, group.label]))
            first.setdefault(label, runs[0])
    flat = {label: without_folders(run.settings) for label, run in first.items()}
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
        text_columns=len(header),
    )


def _value(values: dict[str, Any], key: str) -> str:
    return str(values[key]) if key in values else NONE


def versions_table(study: Study) -> Table | None:
    """Return versions of software and hardware of the runs; None if unknown."""
    versions: dict[str, list[str]] = {}
    for run in study.runs:
        source = run.provenance
        if source:
            pairs = {"git revision": source.get("git_revision"), "python": source.get("python")}
            pairs |= source.get("versions") or {}
            pairs |= {"machine": source.get("machine"), "CPU cores": source.get("cpu_count")}
            for key, value in pairs.items():
                versions.setdefault(key, []).append("unknown" if value is None else str(value))
    if not versions:
        return None
    rows = [[key, listed(dict.fromkeys(values))] for key, values in versions.items()]
    data = pd.DataFrame(rows, columns=["what", "version"])
    header = ["component", "version"]
    return Table(
        "versions", "Software and hardware of the runs", header, rows, data, text_columns=2
    )


def failures_table(study: Study) -> Table | None:
    """Return the failed runs; None if there are none."""
    if study.failures.empty:
        return None
    data = study.failures.map(without_folders)
    rows = [[str(cell) for cell in row] for row in data.itertuples(index=False)]
    caption = f"{counted(len(rows), 'failed run')}, excluded from the comparison"
    header = list(data.columns)
    return Table("failures", caption, header, rows, data, text_columns=len(header))
