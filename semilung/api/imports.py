"""`semilung data import`, `scan` and `merge`: manifests of a user's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from semilung.api.paths import PathLike
from semilung.csv_tables import write_csv
from semilung.data import Case
from semilung.data.importers import import_cohort
from semilung.data.importers.dicom.dicom_importer import require_tree
from semilung.data.importers.dicom.series_table import SeriesRow, series_table
from semilung.data.manifest.merge import merge_manifests
from semilung.runs.config_values import parse_settings

__all__ = ["SeriesRow", "import_data", "merge", "scan"]


def import_data(
    name: str,
    source: PathLike,
    out: PathLike,
    *,
    role: str | None = None,
    cohort: str | None = None,
    settings: Sequence[str] = (),
    key: PathLike | None = None,
    overwrite: bool = False,
) -> tuple[Path, list[Case]]:
    """Write the manifest of data in one of the field's formats.

    Args:
        name: Format, one of `semilung.data.importers.importers`.
        source: The data's folder or table.
        out: Folder of `manifest.csv`, of `nodules.csv` and of files that had to be converted.
        role: Role of all scans instead of that of the format, such as `healthy`.
        cohort: Name of the cohort; by default that of the source.
        settings: `key=value` words, options of the format.
        key: File of the pseudonyms' key, of the formats of DICOM; made where it is missing.
        overwrite: Replace an existing manifest.

    Returns:
        The manifest, and its cases.

    Raises:
        UserError: There is no such format, role or option, or the source is not of the format.
    """
    return import_cohort(
        name,
        Path(source),
        Path(out),
        role=role,
        cohort=cohort,
        options=parse_settings(settings, "") | ({} if key is None else {"key": str(key)}),
        overwrite=overwrite,
    )


def scan(folder: PathLike, *, csv: PathLike | None = None) -> list[SeriesRow]:
    """List the DICOM series below a folder, with what each is and why it cannot be imported.

    Args:
        folder: Any tree of DICOM files.
        csv: Table to write, one row a series; it names folders as they are.

    Returns:
        A row for each series.

    Raises:
        UserError: The folder holds no DICOM that can be read, or the table cannot be written.
    """
    rows = series_table(require_tree(Path(folder)))
    if csv is not None:
        write_csv(csv, pd.DataFrame([asdict(row) for row in rows]).astype({"folder": str}))
    return rows


def merge(manifests: Sequence[PathLike], out: PathLike, *, overwrite: bool = False) -> Path:
    """Write the cases of several manifests as one; see `merge_manifests`.

    Args:
        manifests: Their paths.
        out: The new manifest.
        overwrite: Replace an existing one.

    Returns:
        The new manifest.

    Raises:
        UserError: A manifest is invalid, or they contradict each other.
    """
    return merge_manifests([Path(path) for path in manifests], Path(out), overwrite=overwrite)
