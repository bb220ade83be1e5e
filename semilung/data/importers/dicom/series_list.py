"""Series that a user chose in a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semilung.data.importers.dicom.series_pick import Candidate
from semilung.data.importers.dicom.series_table import SeriesRow
from semilung.data.importers.dicom.tree import TreeSeries
from semilung.data.manifest.table_file import TableKind, read_table
from semilung.types import UserError

TABLE = TableKind("a table of series", ("folder", "series"), "a series")


def listed_series(
    path: Path, candidates: Sequence[Candidate], rows: Sequence[SeriesRow]
) -> list[TreeSeries]:
    """Return the series that a table names by folder and label.

    Args:
        path: The table, such as lines of `semilung data scan --csv`.
        candidates: Series that can be imported.
        rows: Of all series of the tree, for messages.

    Raises:
        UserError: A column is missing, or a series is not in the tree or cannot be imported.
    """
    table = read_table(path, TABLE)
    if lacking := [name for name in TABLE.columns if name not in table.columns]:
        raise UserError(f"{path} lacks the columns {', '.join(lacking)}, as data scan writes them")
    by_name = {(one.row.folder.resolve(), one.row.series): one.series for one in candidates}
    problems = {(row.folder.resolve(), row.series): row.problem or row.kind for row in rows}
    chosen = []
    for number, (folder, series) in enumerate(
        zip(table["folder"], table["series"], strict=True), start=2
    ):
        key = (Path(folder).resolve(), str(series))
        if key not in by_name:
            reason = problems.get(key, "there is none in the tree")
            raise UserError(f"{path}, row {number}: series {series} in {folder}: {reason}")
        chosen.append(by_name[key])
    return list(dict.fromkeys(chosen))
