"""Series in any tree of DICOM files: which are CT volumes, and why others cannot be used."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from semilung.data.io.dicom.series import files_of_series, open_slices
from semilung.data.io.dicom.series_choice import SeriesFiles, by_series
from semilung.data.io.dicom.series_path import series_path
from semilung.data.io.dicom.slice_file import (
    is_slice,
    looks_like_dicom,
    read_file,
    read_tags,
)
from semilung.data.io.grid import Grid
from semilung.data.io.opened_volume import OpenedVolume
from semilung.types import UserError


@dataclass(frozen=True, eq=False)
class TreeSeries:
    """A series in one folder of a tree.

    Attributes:
        folder: Of its files.
        files: Its label in the folder, and its files.
        is_alone: Whether it is the folder's only CT volume, so that the folder names it.
        opened: The volume; None where it is none, or cannot be read as one.
        problem: Why it cannot be used; empty where it can.
    """

    folder: Path
    files: SeriesFiles
    is_alone: bool = False
    opened: OpenedVolume | None = None
    problem: str = ""

    @property
    def header(self) -> dict[str, Any]:
        """Tags of its first file."""
        return self.files.files[0].header

    @property
    def path(self) -> Path:
        """Path that a manifest names: the folder, with the series where it holds several."""
        return self.folder if self.is_alone else series_path(self.folder, self.files.label)

    @property
    def grid(self) -> Grid:
        """Grid of the volume."""
        assert self.opened is not None
        return self.opened.grid

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID; empty where it is missing."""
        return str(self.header.get("SeriesInstanceUID") or "")

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID, or the folder where it is missing."""
        return str(self.header.get("StudyInstanceUID") or self.folder)

    @cached_property
    def patient_key(self) -> str:
        """Identity of the patient, or else of the study; never to be written."""
        tags = read_tags(self.files.files[0].path, ("PatientID",))
        return str(tags.get("PatientID") or "").strip() or self.study_uid

    @cached_property
    def slices(self) -> dict[str, int]:
        """SOP instance to the index of its slice, of a volume of one slice a file."""
        paths = () if self.opened is None else self.opened.files
        number = {path: k for k, path in enumerate(paths)}
        return {
            str(file.header.get("SOPInstanceUID", "")): number[file.path]
            for file in self.files.files
            if file.path in number
        }


@dataclass(frozen=True)
class DicomTree:
    """All series below a folder, and errors of folders in which no file can be read."""

    series: list[TreeSeries] = field(default_factory=list)
    errors: list[UserError] = field(default_factory=list)

    @property
    def volumes(self) -> list[TreeSeries]:
        """CT volumes that can be used."""
        return [one for one in self.series if one.opened is not None and not one.problem]


def dicom_tree(source: Path) -> DicomTree:
    """Return every series below a folder; links are not followed, and warnings not shown.

    A series that is in two folders is used once if the files are the same, and not at all if each
    folder holds a part of it.
    """
    tree = DicomTree()
    for folder in _dicom_folders(source):
        try:
            tree.series.extend(_series_in(folder))
        except UserError as error:
            tree.errors.append(error)
    return replace(tree, series=_used_once(tree.series))


def _dicom_folders(source: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(source):
        folders.sort()
        paths = (Path(parent, name) for name in sorted(names))
        if any(looks_like_dicom(path) and is_slice(path) for path in paths):  # no DICOMDIR
            yield Path(parent)


def _series_in(folder: Path) -> list[TreeSeries]:
    """Return the series of one folder.

    Raises:
        UserError: No file can be read.
    """
    files, errors = [], []
    for path in files_of_series(folder):
        try:
            files.append(read_file(path))
        except UserError as error:
            errors.append(error)
    if not files:
        raise errors[0]
    series = by_series(files)
    is_alone = sum(one.is_volume for one in series) == 1
    problem = str(errors[0]) if errors else ""
    return [_opened(folder, one, is_alone=is_alone, problem=problem) for one in series]


def _opened(folder: Path, files: SeriesFiles, *, is_alone: bool, problem: str) -> TreeSeries:
    one = TreeSeries(folder, files, is_alone and files.is_volume, problem=problem)
    if not files.is_volume:
        return one
    try:
        with warnings.catch_warnings(action="ignore"):  # of a tilted gantry, which is listed
            return replace(one, opened=open_slices(folder, files.files))
    except UserError as error:
        return replace(one, problem=problem or str(error))


def _used_once(series: Sequence[TreeSeries]) -> list[TreeSeries]:
    """Return the series, with a problem where one is in several folders."""
    first: dict[tuple[str, str], TreeSeries] = {}
    problems: dict[int, str] = {}
    whole_first = sorted(series, key=lambda one: (bool(one.problem), -len(one.files.files)))
    for one in whole_first:
        if not one.files.is_volume or not one.series_uid:
            continue
        other = first.setdefault((one.series_uid, str(one.header.get("ConvolutionKernel"))), one)
        if other is one:
            continue
        if _instances(one) <= _instances(other):
            problems[id(one)] = (
                f"{one.folder} holds the same series as {other.folder}; remove one of the two"
            )
        else:
            problems[id(one)] = problems[id(other)] = (
                f"{one.folder} and {other.folder} each hold a part of one series; put its files "
                f"into one folder"
            )
    return [replace(one, problem=problems.get(id(one), one.problem)) for one in series]


def _instances(one: TreeSeries) -> set[str]:
    return {str(file.header.get("SOPInstanceUID")) for file in one.files.files}
