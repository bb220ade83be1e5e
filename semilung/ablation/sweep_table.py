"""The table that an ablation prints at its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pandas as pd
from rich.console import Console
from rich.table import Table

from semilung.arm_names import printable
from semilung.tasks import all_metrics

COSTS = ("steps", "seconds")
"""Columns of `results.csv` that the table shows besides metrics."""


def show(results: pd.DataFrame, swept: Sequence[str], split: str) -> None:
    """Print the means over seeds of every arm, and the total cost.

    Args:
        results: `results.csv`, at least one row.
        swept: The swept settings besides strategy and seed.
        split: Split that runs were evaluated on.
    """
    titles = {metric.result_name: metric.short for metric in all_metrics() if metric.short}
    titles |= dict(zip(COSTS, COSTS, strict=True))
    shown = [name for name in titles if name in results]
    between = [key for key in swept if key in results]
    table = Table(title=f"means over seeds, on {split}, last checkpoint", title_justify="left",
                  box=None, pad_edge=False)  # fmt: skip
    for name in ("arm", *between):
        table.add_column(name)
    for name in ("seeds", *(titles[name] for name in shown)):
        table.add_column(name, justify="right")
    filled = results.fillna(dict.fromkeys(between, "-"))
    for keys, rows in filled.groupby(["arm", *between], sort=False):
        means = ["-" if rows[n].isna().all() else f"{rows[n].mean():.3g}" for n in shown]
        table.add_row(*(printable(str(key)) for key in keys), str(rows["seed"].nunique()), *means)
    console = Console()
    console.width = console.width if console.is_terminal else 160
    console.print(table, markup=False, highlight=False)
    total = timedelta(seconds=round(results["seconds"].sum()))
    peak = results["peak_memory_mib"].max()
    console.print(
        f"{len(results)} trainings took {total} in all, at most {peak:.0f} MiB each",
        highlight=False,
    )
