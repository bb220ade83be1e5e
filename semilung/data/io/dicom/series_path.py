"""Path of one of several DICOM series in a folder: `folder#series`."""

from __future__ import annotations

from pathlib import Path

from semilung.files import is_there

MARK = "#"


def series_path(folder: Path, label: str) -> Path:
    """Return the path of a series, by its label as `chosen_series` lists it.

    Example:
        >>> series_path(Path("scans/study"), "3").as_posix()
        'scans/study#3'
    """
    folder = folder.resolve() if folder.name in ("", "..") else folder
    return folder.with_name(f"{folder.name}{MARK}{label}")


def folder_and_series(path: Path) -> tuple[Path, str | None]:
    """Return the folder and label of a path of a series; the path and None for any other.

    A folder whose own name has the mark is what it is.
    """
    name, mark, label = path.name.rpartition(MARK)
    if not mark or not name or not label or is_there(path):
        return path, None
    folder = path.with_name(name)
    return (folder, label) if is_there(folder) and folder.is_dir() else (path, None)
