"""A made-up patient of LIDC-IDRI for tests: a small CT series and the readers' XML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from dicom_series import write_series

from semilung.data.importers.lidc.reader_xml import Outline, Reading

SHAPE = (20, 16, 5)
SERIES = "1.2.3"


def write_ct(folder: Path, *, patient: str = "LIDC-IDRI-0007", uid: str = SERIES, **fields) -> Path:
    """Write a CT of `SHAPE`, whose slice `k` is the SOP instance `<uid>.<k>`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    hu = rng.integers(-900, 100, SHAPE)
    former = set(folder.iterdir())
    write_series(folder, hu, PatientID=patient, SeriesInstanceUID=uid, **fields)
    new = [pydicom.dcmread(path) for path in set(folder.iterdir()) - former]
    for k, one in enumerate(sorted(new, key=lambda one: one.ImagePositionPatient[2])):
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{k}"
        one.save_as(one.filename)
    return folder


def square(low: tuple[int, int], high: tuple[int, int]) -> np.ndarray:
    """Return the pixels along the border of a rectangle, both corners on it."""
    (a, b), (c, d) = low, high
    top = [(x, b) for x in range(a, c)] + [(c, y) for y in range(b, d)]
    return np.array(top + [(x, d) for x in range(c, a, -1)] + [(a, y) for y in range(d, b, -1)])


def outlined(reader: int, *outlines, ratings=None) -> Reading:
    """Return a nodule of one reader; an outline is slice, points and, for a hole, False."""
    return Reading(reader, "nodule", tuple(on_slice(*one) for one in outlines), ratings or {})


def marked(reader: int, kind, k: int, place: tuple[int, int]) -> Reading:
    """Return a finding that is marked by a point."""
    return Reading(reader, kind, (on_slice(k, np.array([place])),))


def on_slice(k: int, points: np.ndarray, inclusion: bool = True) -> Outline:
    """Return an outline on a slice of `write_ct`."""
    return Outline(f"{SERIES}.{k}", points, inclusion)


def xml_text(
    readings: Sequence[Reading], *, readers: int = 4, uid: str = SERIES, date: str = "2000-01-01"
) -> str:
    """Return the XML of a scan's readings."""
    sessions = "".join(
        f"<readingSession>{''.join(_finding(one) for one in readings if one.reader == reader)}"
        f"</readingSession>"
        for reader in range(1, readers + 1)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<LidcReadMessage xmlns="http://www.nih.gov">'
        f"<ResponseHeader><SeriesInstanceUid>{uid}</SeriesInstanceUid>"
        f"<DateService>{date}</DateService></ResponseHeader>{sessions}</LidcReadMessage>"
    )


def _finding(one: Reading) -> str:
    if one.kind == "non-nodule":
        return (
            f"<nonNodule><nonNoduleID>1</nonNoduleID>{_place(one.outlines[0], 'locus')}</nonNodule>"
        )
    ratings = "".join(f"<{name}>{value}</{name}>" for name, value in one.ratings.items())
    table = f"<characteristics>{ratings}</characteristics>" if ratings else ""
    rois = "".join(
        f"<roi><inclusion>{str(outline.inclusion).upper()}</inclusion>"
        f"{_place(outline, 'edgeMap')}</roi>"
        for outline in one.outlines
    )
    return f"<unblindedReadNodule><noduleID>1</noduleID>{table}{rois}</unblindedReadNodule>"


def _place(outline: Outline, name: str) -> str:
    pixels = "".join(
        f"<{name}><xCoord>{x}</xCoord><yCoord>{y}</yCoord></{name}>"
        for x, y in outline.points.tolist()
    )
    return f"<imageSOP_UID>{outline.image_uid}</imageSOP_UID>{pixels}"
