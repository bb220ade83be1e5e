"""What each series of a tree is, as a row of a table without anything that names the patient."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semilung.data.content.hounsfield import intensity_issue
from semilung.data.importers.dicom.tree import TreeSeries
from semilung.data.io.dicom.kernels import (
    KernelKind,
    kernel_kind,
    kernel_parts,
    manufacturer,
)
from semilung.data.io.dicom.series import read_hu
from semilung.data.io.dicom.series_choice import image_types
from semilung.data.io.dicom.slice_file import slices_of
from semilung.data.io.grid import SHEAR_DEGREES, shear_degrees, spacing_of
from semilung.types import UserError

_KERNEL = re.compile(r"[A-Za-z0-9+_/. -]{1,16}")
_KINDS = {"SR": "report", "SEG": "mask (SEG)", "RTSTRUCT": "contours (RTSTRUCT)"}


@dataclass(frozen=True)
class SeriesRow:
    """A series of a tree.

    Attributes:
        folder: Of its files; its name is the user's, and may hold what identifies a patient.
        series: Label in the folder, as `predict --series` takes it.
        study: Number of the study in the tree, from 1.
        kind: `CT`, or what else it is.
        slices: Number of slices, or of files.
        thickness_mm: Nominal slice thickness.
        step_mm: Distance between slices.
        pixel_mm: Edge of a pixel.
        kernel: Name of the reconstruction kernel.
        kernel_kind: `soft`, `lung`, `bone` or `unknown`.
        manufacturer: Of the scanner, where it is a known one.
        problem: Why it cannot be imported; empty where it can.
    """

    folder: Path
    series: str
    study: int
    kind: str
    slices: int
    thickness_mm: float | None = None
    step_mm: float | None = None
    pixel_mm: float | None = None
    kernel: str = ""
    kernel_kind: KernelKind | None = None
    manufacturer: str = ""
    problem: str = ""


def series_table(series: Sequence[TreeSeries], *, straighten: bool = False) -> list[SeriesRow]:
    """Return a row for each series of a tree.

    Args:
        series: Of the tree.
        straighten: Whether a tilted gantry is no problem.
    """
    studies: dict[str, int] = {}
    for one in series:
        studies.setdefault(one.study_uid, len(studies) + 1)
    return [_row(one, studies[one.study_uid], straighten=straighten) for one in series]


def _row(one: TreeSeries, study: int, *, straighten: bool) -> SeriesRow:
    if not one.files.is_volume:
        return SeriesRow(one.folder, one.files.label, study, _kind(one), len(one.files.files))
    kernel = one.header.get("ConvolutionKernel")
    opened = one.opened
    x, _, z = (None, None, None) if opened is None else spacing_of(opened.grid.affine)
    return SeriesRow(
        one.folder,
        one.files.label,
        study,
        "CT",
        len(one.files.files) if opened is None else opened.grid.shape[2],
        thickness_mm=_number(one.header.get("SliceThickness")),
        step_mm=z,
        pixel_mm=x,
        kernel=_kernel_name(kernel),
        kernel_kind=kernel_kind(kernel),
        manufacturer=manufacturer(one.header.get("Manufacturer")),
        problem=one.problem or _tilt(one, straighten) or _not_hu(one),
    )


def _kind(one: TreeSeries) -> str:
    modality = str(one.header.get("Modality"))
    if modality == "CT":
        return "localiser" if "LOCALIZER" in image_types(one.header) else "capture"
    return _KINDS.get(modality, modality if re.fullmatch("[A-Z]{2,8}", modality) else "unknown")


def _tilt(one: TreeSeries, straighten: bool) -> str:
    degrees = shear_degrees(one.grid.affine)
    if straighten or degrees <= SHEAR_DEGREES:
        return ""
    return (
        f"{one.folder}: the gantry was tilted by {degrees:.1f} degrees, so the slices are no box; "
        f"import with straighten=true to resample them onto one"
    )


def _not_hu(one: TreeSeries) -> str:
    """Return why three slices, evenly over the volume, are not HU of a chest; empty if they are."""
    assert one.opened is not None
    by_path = {file.path: file for file in one.files.files}
    paths = one.opened.files
    third = max(len(paths) // 3, 1)
    sample = [by_path[path] for path in paths[third // 2 :: third][:3]]
    try:
        data = read_hu([slice_ for file in sample for slice_ in slices_of(file)])
    except UserError as error:
        return str(error)
    issue = intensity_issue(data)
    is_error = issue is not None and issue.severity == "error"
    return f"{one.folder}: {issue.message}" if issue is not None and is_error else ""


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if np.isfinite(number) and 0 < number < 1000 else None


def _kernel_name(kernel: object) -> str:
    name = "/".join(part.strip() for part in kernel_parts(kernel))
    return name if _KERNEL.fullmatch(name) else ""
