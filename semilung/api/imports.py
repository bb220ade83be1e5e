"""`semilung data import` and `semilung data merge`: manifests of a user's data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semilung.api.paths import PathLike
from semilung.data import Case
from semilung.data.importers import import_cohort
from semilung.data.manifest.merge import merge_manifests
from semilung.runs.config_values import parse_settings


def import_data(
    name: str,
    source: PathLike,
    out: PathLike,
    *,
    role: str | None = None,
    cohort: str | None = None,
    settings: Sequence[str] = (),
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
        options=parse_settings(settings, ""),
        overwrite=overwrite,
    )


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
