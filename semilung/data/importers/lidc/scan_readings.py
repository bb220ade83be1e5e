"""Readings of a folder by series, and what they enclose on the series' slices."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from semilung.data.importers.dicom.tree import TreeSeries
from semilung.data.importers.lidc.outlines import present, voxels_of
from semilung.data.importers.lidc.reader_consensus import OutlinedReading
from semilung.data.importers.lidc.reader_xml import Reading, ScanReadings, read_readings
from semilung.types import UserError


def readings_below(source: Path) -> dict[str, ScanReadings]:
    """Read every XML file below a folder, and return the readings of each CT series by its UID.

    Raises:
        UserError: A file is no readable XML, or an element is missing or invalid.

    Warns:
        UserWarning: Files are no readings of CT, or two differ on one series, of which the one of
            the later date (the last by name, if that is equal) is used.
    """
    readings: dict[str, ScanReadings] = {}
    others = []
    for path in _xml_files(source):
        scan = read_readings(path)
        if scan is None:
            others.append(path)
            continue
        former = readings.get(scan.series_uid, scan)
        latest = scan if scan.date >= former.date else former
        readings[scan.series_uid] = latest
        if _content(former) != _content(scan):
            warnings.warn(
                f"{former.path} and {path} are different readings of one series; {latest.path} is "
                f"used, move the other one out of the folder if it is the valid one",
                stacklevel=2,
            )
    _warn_of_files(others, "no reading of a CT (but of a radiograph, or other XML)")
    return readings


def warn_of_unmatched(readings: Mapping[str, ScanReadings], series: Iterable[TreeSeries]) -> None:
    """Warn of readings whose series is not imported."""
    imported = {one.series_uid for one in series}
    unmatched = [scan.path for uid, scan in readings.items() if uid not in imported]
    _warn_of_files(unmatched, "a reading of a series that is not among the imported ones")


def _warn_of_files(paths: list[Path], trait: str) -> None:
    if paths:
        listed = ", ".join(str(path) for path in paths[:3])
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        warnings.warn(f"left out, because it is {trait}: {listed}{more}", stacklevel=3)


def _xml_files(source: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(".xml") and not name.startswith("."):
                yield Path(parent, name)


def _content(scan: ScanReadings) -> list[object]:
    """Return what two readings must share to be copies of each other."""
    return [
        (
            one.reader,
            one.kind,
            one.ratings,
            [(o.image_uid, o.inclusion, o.points.tolist()) for o in one.outlines],
        )
        for one in scan.readings
    ]


@dataclass(frozen=True, eq=False)
class ScanOnSlices:
    """The readings of a scan on its slices.

    Attributes:
        nodules: Nodules whose outlines enclose voxels.
        marks: Findings that are marked by points, or by outlines too small to enclose a voxel.
    """

    nodules: list[OutlinedReading]
    marks: list[Reading]

    @property
    def has_nodule(self) -> bool:
        """Whether a reader marked a nodule of any size."""
        return bool(self.nodules) or any(mark.kind == "small" for mark in self.marks)


def scan_on_slices(series: TreeSeries, scan: ScanReadings) -> ScanOnSlices | None:
    """Return the readings of a series on its slices; None where none of them is on a slice.

    Without findings, the readings are those of a scan without nodules.

    Raises:
        UserError: An outline leaves its slice.

    Warns:
        UserWarning: The series lacks slices on which readers marked something.
    """
    slices, shape = series.slices, series.grid.shape
    outlines = [outline for one in scan.readings for outline in one.outlines]
    missing = sum(outline.image_uid not in slices for outline in outlines)
    if missing:
        warnings.warn(
            f"{series.folder} lacks the slices of {missing} of the {len(outlines)} outlines and "
            f"marks in {scan.path}; what is on them is left out",
            stacklevel=2,
        )
    if outlines and missing == len(outlines):
        return None
    nodules, marks = [], []
    for one in scan.readings:
        if not present(one, slices):
            continue
        try:
            voxels = voxels_of(one, slices, shape)
        except ValueError as error:
            raise UserError(
                f"{scan.path}: {error}; is it a reading of the series in {series.folder}?"
            ) from error
        if voxels.size:
            nodules.append(OutlinedReading(one, voxels))
        else:
            marks.append(one if one.kind != "nodule" else replace(one, kind="small"))
    return ScanOnSlices(nodules, marks)
