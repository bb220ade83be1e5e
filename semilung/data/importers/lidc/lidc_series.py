"""CT series of a folder with any tree of DICOM files, each with its patient's pseudonym."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from semilung.data.io.dicom.series import files_of_series, open_slices
from semilung.data.io.dicom.series_choice import SeriesFiles, by_series
from semilung.data.io.dicom.slice_file import (
    is_slice,
    looks_like_dicom,
    read_file,
    read_tags,
)
from semilung.data.io.opened_volume import OpenedVolume
from semilung.types import UserError

PSEUDONYM = re.compile(r"LIDC-IDRI-\d{4}")
"""Public name of a patient. Any other patient id is replaced, for it may identify a person."""


@dataclass(frozen=True, eq=False)
class CtSeries:
    """A CT series that can be read as a volume.

    Attributes:
        folder: Of its slices.
        series_uid: SeriesInstanceUID.
        patient_key: Distinguishes patients; never to be written.
        is_alone: Whether it is the folder's only CT volume, so that the folder names it.
        opened: The volume; its files are in the order of the slices.
    """

    folder: Path
    series_uid: str
    patient_key: str
    is_alone: bool
    opened: OpenedVolume

    @cached_property
    def slices(self) -> dict[str, int]:
        """SOP instance to the index of its slice."""
        tags = (read_tags(path, ("SOPInstanceUID",)) for path in self.opened.files)
        return {str(tag.get("SOPInstanceUID", "")): k for k, tag in enumerate(tags)}


def ct_series(source: Path) -> list[CtSeries]:
    """Return every CT series below a folder; links are not followed.

    Raises:
        UserError: No series can be read, though there are slices.

    Warns:
        UserWarning: A series cannot be read as a volume, or is there twice; it is left out.
    """
    errors: list[UserError] = []
    series: dict[str, CtSeries] = {}
    for folder in _dicom_folders(source):
        try:
            volumes = _volumes_in(folder)
        except UserError as error:
            errors.append(error)
            continue
        for volume in volumes:
            try:
                one = _opened(folder, volume, is_alone=len(volumes) == 1)
                _require_new(one, series)
            except UserError as error:
                errors.append(error)
            else:
                series[one.series_uid] = one
    if errors and not series:
        raise errors[0]
    for omission in errors:
        warnings.warn(f"left out of the import: {omission}", stacklevel=2)
    return list(series.values())


def _dicom_folders(source: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(source):
        folders.sort()
        paths = (Path(parent, name) for name in sorted(names))
        if any(looks_like_dicom(path) and is_slice(path) for path in paths):  # no DICOMDIR
            yield Path(parent)


def _volumes_in(folder: Path) -> list[SeriesFiles]:
    """Return the CT volumes of one folder; radiographs and localisers are none."""
    files = [read_file(path) for path in files_of_series(folder)]
    return [one for one in by_series(files) if one.is_volume]


def _opened(folder: Path, volume: SeriesFiles, *, is_alone: bool) -> CtSeries:
    tags = read_tags(volume.files[0].path, ("SeriesInstanceUID", "StudyInstanceUID", "PatientID"))
    return CtSeries(
        folder=folder,
        series_uid=str(tags.get("SeriesInstanceUID", "")),
        patient_key=str(tags.get("PatientID") or tags.get("StudyInstanceUID") or folder),
        is_alone=is_alone,
        opened=open_slices(folder, volume.files),
    )


def _require_new(one: CtSeries, series: Mapping[str, CtSeries]) -> None:
    """Raise UserError if a series of the same UID is there already."""
    if one.series_uid in series:
        raise UserError(
            f"{one.folder} holds the same series {one.series_uid[:64]} as the imported folder "
            f"{series[one.series_uid].folder}; remove one of the two"
        )


def case_names(series: Sequence[CtSeries]) -> list[tuple[str, str]]:
    """Return case and patient of each series.

    A case is named after its patient, with a number where the patient has several series, in the
    order of their UIDs. Patients without a pseudonym of the collection are numbered.
    """
    numbers: dict[str, str] = {}
    for one in series:
        if not PSEUDONYM.fullmatch(one.patient_key):
            numbers.setdefault(one.patient_key, f"patient-{len(numbers) + 1}")
    patients = [numbers.get(one.patient_key, one.patient_key) for one in series]
    total, rank = Counter(patients), Counter[str]()
    names = {}
    for uid, patient in sorted(
        (one.series_uid, p) for one, p in zip(series, patients, strict=True)
    ):
        rank[patient] += 1
        names[uid] = patient if total[patient] == 1 else f"{patient}_{rank[patient]}"
    return [(names[one.series_uid], p) for one, p in zip(series, patients, strict=True)]
