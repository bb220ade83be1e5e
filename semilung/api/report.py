"""`semilung report`: one page on a sweep, or on one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semilung.api.paths import PathLike, listed
from semilung.report import write_html


def report(
    folders: PathLike | Sequence[PathLike],
    *,
    out: PathLike | None = None,
    split: str | None = None,
    metric: str | None = None,
) -> Path:
    """Write a page of tables and plots, and the tables as CSV and Markdown.

    Args:
        folders: A sweep's folder alone, or run folders, all evaluated.
        out: Folder of the page; `report` in the first folder by default.
        split: `val` or `test`; by default the sweep's, or, of plain runs, test where all were
            evaluated on it, else val.
        metric: Metric that arms are compared by; the score of the first task by default.

    Returns:
        The page.

    Raises:
        UserError: A folder is neither run nor sweep, a run was never evaluated, runs were evaluated
            on different cases, or a split leaks a patient.
    """
    return write_html(
        listed(folders, "folders"), None if out is None else Path(out), split=split, metric=metric
    )
