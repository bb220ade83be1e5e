"""Choice of the CT series in a DICOM folder with localisers, reports or further series."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from semilung.data.io.dicom.slice_file import DicomFile, looks_like_dicom, printable
from semilung.types import UserError

_TYPES = ("ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "AXIAL", "LOCALIZER", "MPR", "MIP",
          "MINIP", "AVERAGE", "REFORMATTED", "SCREEN SAVE")  # fmt: skip
"""Words of ImageType that messages show; others may identify a patient."""

_MODALITY = re.compile(r"[A-Z]{2,8}")
_LISTED = 8
_SEARCHED = 2000  # entries below a folder, for the message about it


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one series and reconstruction kernel, and the label that messages list."""

    label: str
    files: Sequence[DicomFile]

    @property
    def is_volume(self) -> bool:
        """Whether it may be a CT volume, or part of one.

        Only what is clearly something else is excluded: another modality or a report, a localiser,
        a secondary capture without a position. A damaged slice is kept, so that it is not silently
        lost from its volume.
        """
        return not all(_is_no_slice(file.header) for file in self.files)

    def __str__(self) -> str:
        header, count = self.files[0].header, len(self.files)
        kernel, types = header.get("ConvolutionKernel"), "\\".join(image_types(header))
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
    """Return the files of the series `label`, or of the only one that may be a CT volume.

    Args:
        folder: The folder, for messages.
        files: All files in it.
        label: The series number, with `.1`, `.2` appended where several kernels or series share
            it; None for the only CT volume.

    Raises:
        UserError: There is no such series, or no single CT volume; the series are listed.
    """
    series = by_series(files)
    listed = "".join(f"\n  {one}" for one in series)
    if label is not None:
        matches = [one for one in series if one.label == label]
        if not matches:
            raise UserError(
                f"{folder}: there is no series {label[:20]!r} in it; choose one of:{listed}"
            )
        return matches[0].files
    volumes = [one for one in series if one.is_volume]
    if len(volumes) == 1 or len(series) == 1:
        return (volumes or series)[0].files
    if not volumes:
        raise UserError(f"{folder}: there is no CT volume in it; it holds:{listed}")
    raise UserError(
        f"{folder}: its {len(files)} slices are of {len(series)} series or reconstructions, of "
        f"which {len(volumes)} may be the CT volume; name one (semilung predict --series "
        f"{volumes[0].label}, or {folder.name}#{volumes[0].label} in a manifest), or give each a "
        f"folder of its own:{listed}"
    )


def by_series(files: Sequence[DicomFile]) -> list[SeriesFiles]:
    """Divide the files of a folder into series, sorted by number.

    Reconstruction kernels of one series are apart, and so are localisers and captures in it.
    """
    groups: dict[tuple[str, str, bool], list[DicomFile]] = {}
    for file in files:
        key = (
            str(file.header.get("SeriesInstanceUID")),
            str(file.header.get("ConvolutionKernel")),
            _is_aside(file.header),
        )
        groups.setdefault(key, []).append(file)
    numbered = sorted((_number(group[0].header), key) for key, group in groups.items())
    total, rank = Counter(number for number, _ in numbered), Counter[int]()
    series = []
    for number, key in numbered:
        rank[number] += 1
        label = f"{number}" if total[number] == 1 else f"{number}.{rank[number]}"
        series.append(SeriesFiles(label, groups[key]))
    return series


def _number(header: dict[str, Any]) -> int:
    """Return the series number, 0 where it is missing or invalid."""
    try:
        return min(max(int(header["SeriesNumber"]), 0), 10**9)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return 0


def _is_no_slice(header: dict[str, Any]) -> bool:
    modality = header.get("Modality")
    if isinstance(modality, str) and _MODALITY.fullmatch(modality) and modality != "CT":
        return True
    return _is_aside(header)


def _is_aside(header: dict[str, Any]) -> bool:
    """Return whether a file is a localiser or a capture, which a CT's own series may hold."""
    types = image_types(header)
    is_capture = "SECONDARY" in types and "ImagePositionPatient" not in header
    return "LOCALIZER" in types or is_capture


def image_types(header: dict[str, Any]) -> list[str]:
    """Return the words of ImageType that messages may show; damaged values have none."""
    types = header.get("ImageType")
    words = [types] if isinstance(types, str) else types if isinstance(types, Iterable) else ()
    return [word for word in map(str, words) if word in _TYPES]


def _lengths(name: str, values: Any, count: int) -> str:
    """Format lengths in mm; empty where they are invalid."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, ArithmeticError):
        return ""
    if len(numbers) != count:
        return ""
    return f"{name} {' x '.join(f'{number:.4g}' for number in numbers)} mm"


def no_slices(folder: Path) -> str:
    """Return the message for a folder without slices; it lists subfolders that hold some.

    Links are not followed, and the search is limited.
    """
    below = []
    for parent, folders, names in islice(os.walk(folder), _SEARCHED):
        folders.sort()
        paths = (Path(parent, name) for name in sorted(names)[:3])
        if Path(parent) != folder and any(looks_like_dicom(path) for path in paths):
            below.append(str(Path(parent).relative_to(folder)))
    if not below:
        return (
            f"{folder}: this is a folder without DICOM slices; give a scan's file, or the folder "
            f"of one DICOM series"
        )
    listed = "".join(f"\n  {name}" for name in below[:_LISTED])
    more = f"\n  and {len(below) - _LISTED} more" if len(below) > _LISTED else ""
    return (
        f"{folder}: this is a folder without DICOM slices, but {len(below)} below it hold some; "
        f"give one of these:{listed}{more}"
    )
