"""Scans and masks in a folder, in any format that can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from semilung.data.io.dicom.slice_file import is_slice
from semilung.data.io.volume import READERS, stem_of
from semilung.types import UserError


def scans_below(folder: Path) -> list[Path]:
    """Return the volumes of a folder and its subfolders, sorted: files, and folders of slices.

    A folder with a slice of a DICOM series is a scan, and so is a file of a known suffix. Hidden
    files, such as macOS writes next to each file, are left out.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b.nii.gz", "a.mhd", "a.raw", "._b.nii.gz", "notes.txt"):
        ...     folder.joinpath(name).touch()
        >>> [path.name for path in scans_below(folder)]
        ['a.mhd', 'b.nii.gz']
    """
    return sorted(_scans(folder))


def _scans(folder: Path) -> Iterator[Path]:
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    files = [entry for entry in entries if entry.is_file()]
    volumes = [path for path in files if stem_of(path) != path.name]
    yield from volumes
    if any(is_slice(path) for path in files if path not in volumes):
        yield folder
    for entry in entries:
        if entry.is_dir():
            yield from _scans(entry)


def require_scans(folder: Path) -> list[Path]:
    """Return the volumes below a folder.

    Raises:
        UserError: There is none, or `folder` is a file.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the one that holds the scans")
    scans = scans_below(folder)
    if not scans:
        raise UserError(
            f"{folder} holds no scan: neither a file of {', '.join(READERS)} nor a folder with the "
            f"slices of a DICOM series"
        )
    return scans


def by_name(paths: Sequence[Path], name_of: Callable[[Path], str] = stem_of) -> dict[str, Path]:
    """Return volumes by name, by default that of their file without suffix.

    Raises:
        UserError: Two have the same name.
    """
    named: dict[str, Path] = {}
    for path in paths:
        other = named.setdefault(name_of(path), path)
        if other != path:
            raise UserError(f"{other} and {path} have the same name; rename one")
    return named
