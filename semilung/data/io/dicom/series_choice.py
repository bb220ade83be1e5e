"""Which series of a DICOM folder is read, where localisers, reports or other series are in it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from semilung.data.io.dicom.slice_file import DicomFile, looks_like_dicom, printable
from semilung.types import UserError

_TYPES = ("ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "AXIAL", "LOCALIZER", "MPR", "MIP",
          "MINIP", "AVERAGE", "REFORMATTED", "SCREEN SAVE")  # fmt: skip
"""Words of ImageType that are shown; any others might be a person's."""

_MODALITY = re.compile(r"[A-Z]{2,8}")
_SHOWN = 8
_LOOKED_AT = 2000  # entries below a folder, before its message is written


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one series and reconstruction kernel, as they are listed under a label."""

    label: str
    files: Sequence[DicomFile]

    @property
    def is_volume(self) -> bool:
        """Whether it may be a CT volume, or part of one.

        What is left aside says plainly that it is none: a report or another modality, a localiser,
        a picture without a place. A damaged slice does not, and may not vanish from its volume.
        """
        return not all(_is_aside(file.header) for file in self.files)

    def __str__(self) -> str:
        header, count = self.files[0].header, len(self.files)
        kernel, types = header.get("ConvolutionKernel"), "\\".join(_types(header))
        parts = [
            f"series {self.label}: {printable(header.get('Modality'))}, {count} "
            + ("slice" if count == 1 else "slices"),
            _lengths("pixels of", header.get("PixelSpacing"), 2),
            _lengths("thickness", [header.get("SliceThickness")], 1),
            f"kernel {printable(kernel)}" if kernel else "",
            types,
        ]
        return ", ".join(part for part in parts if part)


def chosen_series(
    folder: Path, files: Sequence[DicomFile], label: str | None
) -> Sequence[DicomFile]:
    """The files of the series that is asked for, or of the only one that may be a CT volume.

    Args:
        folder: Where they are.
        files: All that it holds.
        label: As a listing shows it: the series number, with `.1`, `.2` behind it where several
            kernels or series have the same; None takes what is evident.

    Raises:
        UserError: There is no such series; or several may be meant, which are listed.
    """
    series = _by_series(files)
    listed = "".join(f"\n  {one}" for one in series)
    if label is not None:
        named = [one for one in series if one.label == label]
        if not named:
            raise UserError(f"{folder}: there is no series {label[:20]!r} in it, but:{listed}")
        return named[0].files
    volumes = [one for one in series if one.is_volume]
    if len(volumes) == 1 or len(series) == 1:
        return (volumes or series)[0].files
    if not volumes:
        raise UserError(f"{folder}: there is no CT volume in it, but:{listed}")
    raise UserError(
        f"{folder}: its {len(files)} slices are of {len(series)} series or reconstructions, of "
        f"which {len(volumes)} may be the CT volume; name one (semilung predict --series "
        f"{volumes[0].label}), or give each a folder of its own:{listed}"
    )


def _by_series(files: Sequence[DicomFile]) -> list[SeriesFiles]:
    groups: dict[tuple[str, str], list[DicomFile]] = {}
    for file in files:
        key = (str(file.header.get("SeriesInstanceUID")), str(file.header.get("ConvolutionKernel")))
        groups.setdefault(key, []).append(file)
    numbered = sorted((_number(group[0].header), key) for key, group in groups.items())
    count, before = Counter(number for number, _ in numbered), Counter[int]()
    series = []
    for number, key in numbered:
        before[number] += 1
        label = f"{number}" if count[number] == 1 else f"{number}.{before[number]}"
        series.append(SeriesFiles(label, groups[key]))
    return series


def _number(header: dict[str, Any]) -> int:
    """The series number, 0 where there is none that is one."""
    try:
        return min(max(int(header["SeriesNumber"]), 0), 10**9)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return 0


def _is_aside(header: dict[str, Any]) -> bool:
    modality, types = header.get("Modality"), _types(header)
    if isinstance(modality, str) and _MODALITY.fullmatch(modality) and modality != "CT":
        return True
    pictured = "SECONDARY" in types and "ImagePositionPatient" not in header
    return "LOCALIZER" in types or pictured


def _types(header: dict[str, Any]) -> list[str]:
    types = header.get("ImageType") or ()
    words = [types] if isinstance(types, str) else [str(word) for word in types]
    return [word for word in words if word in _TYPES]


def _lengths(what: str, values: Any, count: int) -> str:
    """Lengths in mm as text; empty where they are none."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, ArithmeticError):
        return ""
    if len(numbers) != count:
        return ""
    return f"{what} {' x '.join(f'{number:.4g}' for number in numbers)} mm"


def no_slices(folder: Path) -> str:
    """Why a folder without slices of its own is no series, and what lies below it.

    Links are not followed, and no more than some thousand entries are looked at.
    """
    below = []
    for parent, folders, names in islice(os.walk(folder), _LOOKED_AT):
        folders.sort()
        paths = (Path(parent, name) for name in sorted(names)[:3])
        if Path(parent) != folder and any(looks_like_dicom(path) for path in paths):
            below.append(str(Path(parent).relative_to(folder)))
    message = f"{folder}: this is a folder without DICOM slices"
    if not below:
        return f"{message}; give a scan's file, or the folder of one DICOM series"
    shown = "".join(f"\n  {name}" for name in below[:_SHOWN])
    more = f"\n  and {len(below) - _SHOWN} more" if len(below) > _SHOWN else ""
    return f"{message}, but {len(below)} below it hold some; give one of these:{shown}{more}"
