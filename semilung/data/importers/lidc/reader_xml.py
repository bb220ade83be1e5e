"""The readers' XML of LIDC-IDRI: what each of them outlined, marked and rated."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semilung.data.importers.lidc.safe_xml import read_xml
from semilung.types import UserError

Kind: TypeAlias = Literal["nodule", "small", "non-nodule"]
"""A nodule of 3 mm or more, which is outlined; one below 3 mm, and another finding of 3 mm or more
that is no nodule, both of which are marked by one point."""

RATINGS = {
    "subtlety": 5,
    "internalStructure": 4,
    "calcification": 6,
    "sphericity": 5,
    "margin": 5,
    "lobulation": 5,
    "spiculation": 5,
    "texture": 5,
    "malignancy": 5,
}
"""Ratings by their name in the XML, and the highest category of each; the lowest is 1."""

MAX_COORDINATE = 2**16 - 1
"""Largest number of rows or columns that DICOM allows."""

MAX_POINTS = 2**12
"""Points of an outline; the border of a slice of 512 x 512 pixels has 2044."""


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed outline on one slice, or a mark of one point.

    Attributes:
        image_uid: SOP instance of the slice.
        points: Pixels `(N, 2)` just outside the region, column and row; `(1, 2)` for a mark.
        inclusion: Whether the region is part of the nodule; False for a hole in it.
    """

    image_uid: str
    points: NDArray[np.int64]
    inclusion: bool = True


@dataclass(frozen=True, eq=False)
class Reading:
    """One finding of one reader.

    Attributes:
        reader: Number of the reading session in the file, from 1.
        kind: Of the finding.
        outlines: One or more.
        ratings: By the names in `RATINGS`; those that the reader did not give are left out.
    """

    reader: int
    kind: Kind
    outlines: tuple[Outline, ...]
    ratings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ScanReadings:
    """All findings of all readers of one CT series.

    Attributes:
        path: The XML file.
        series_uid: SeriesInstanceUID of the CT.
        date: Day and time of the reading, later ones sort last; empty where it is not stated.
        readers: Number of reading sessions, those without findings included.
        readings: In the order of the file.
    """

    path: Path
    series_uid: str
    date: str
    readers: int
    readings: tuple[Reading, ...]


def read_readings(path: Path) -> ScanReadings | None:
    """Read an XML file of LIDC-IDRI; None for one that is no reading of a CT.

    The collection also has readings of radiographs (`IdriReadMessage`).

    Raises:
        UserError: It is no readable XML, or an element is missing or invalid.
    """
    root = read_xml(path)
    if root.tag.rpartition("}")[2] != "LidcReadMessage":
        return None
    try:
        header = _child(root, "ResponseHeader")
        return ScanReadings(
            path=path,
            series_uid=_text(header, "SeriesInstanceUid"),
            date=" ".join(header.findtext(f"{{*}}{k}", "") for k in ("DateService", "TimeService")),
            readers=len(root.findall("{*}readingSession")),
            readings=tuple(_readings(root)),
        )
    except ValueError as error:
        raise UserError(f"{path}: {error}; copy it again, or move it out of the folder") from error


def _readings(root: ET.Element) -> Iterator[Reading]:
    for reader, session in enumerate(root.findall("{*}readingSession"), start=1):
        for nodule in session.findall("{*}unblindedReadNodule"):
            outlines = tuple(_outline(roi) for roi in nodule.findall("{*}roi"))
            if not outlines:
                raise ValueError("an <unblindedReadNodule> has no <roi>")
            is_outlined = any(len(outline.points) > 1 for outline in outlines)
            yield Reading(reader, "nodule" if is_outlined else "small", outlines, _ratings(nodule))
        for mark in session.findall("{*}nonNodule"):
            place = Outline(_text(mark, "imageSOP_UID"), _points(mark, "locus"))
            yield Reading(reader, "non-nodule", (place,))


def _outline(roi: ET.Element) -> Outline:
    inclusion = _text(roi, "inclusion").upper()
    if inclusion not in ("TRUE", "FALSE"):
        raise ValueError(f"<inclusion> is {inclusion[:20]!r}, neither TRUE nor FALSE")
    return Outline(_text(roi, "imageSOP_UID"), _points(roi, "edgeMap"), inclusion == "TRUE")


def _points(parent: ET.Element, name: str) -> NDArray[np.int64]:
    pixels = parent.findall(f"{{*}}{name}")
    if not 1 <= len(pixels) <= MAX_POINTS:
        raise ValueError(f"an outline has {len(pixels)} <{name}>, not 1 to {MAX_POINTS}")
    axes = ("xCoord", "yCoord")
    return np.array([[_integer(p, axis, 0, MAX_COORDINATE) for axis in axes] for p in pixels])


def _ratings(nodule: ET.Element) -> dict[str, int]:
    """Return the ratings of a nodule; they are missing below 3 mm."""
    table = nodule.find("{*}characteristics")
    return {
        name: _integer(table, name, 1, highest)
        for name, highest in RATINGS.items()
        if table is not None and table.find(f"{{*}}{name}") is not None
    }


def _child(parent: ET.Element, name: str) -> ET.Element:
    child = parent.find(f"{{*}}{name}")
    if child is None:
        raise ValueError(f"<{parent.tag.rpartition('}')[2][:40]}> has no <{name}>")
    return child


def _text(parent: ET.Element, name: str) -> str:
    text = (_child(parent, name).text or "").strip()
    if not text:
        raise ValueError(f"<{name}> is empty")
    return text


def _integer(parent: ET.Element, name: str, lowest: int, highest: int) -> int:
    text = _text(parent, name)
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError(f"<{name}> is {text[:20]!r}, not a whole number")
    if not lowest <= int(text) <= highest:
        raise ValueError(f"<{name}> is {text}, not {lowest} to {highest}")
    return int(text)
