"""The two transforms of a NIfTI header (qform and sform): choice, warnings and copying."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from semilung.data.io.units import unit_mm

_FORMS = (
    "qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "sform_code", "srow_x", "srow_y", "srow_z",
)  # fmt: skip
_UNIT_CODES = {0: "unknown", 1: "m", 2: "mm", 3: "um"}
_SPATIAL = 0b111  # of xyzt_units; the bits above are the unit of time


def sform_or_qform(path: Path, header: Any) -> NDArray[np.float64]:
    """Return the affine to RAS+ mm: the sform where its code is set, else the qform.

    That is nibabel's order. ITK uses the qform in some cases where both codes are set, so programs
    may disagree where the two forms do (see `warn_of_forms`). With neither code nibabel's default
    is used: the centre at 0, x running to the left.

    Raises:
        UserError: `xyzt_units` is no unit of length.
    """
    affine = np.array(header.get_best_affine(), np.float64)
    affine[:3] *= _to_mm(path, header)
    return affine


def warn_of_forms(path: Path, header: Any, shape: tuple[int, ...]) -> None:
    """Warn where the forms disagree by more than half a voxel, and where there is none."""
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if not sform_code and not qform_code:
        warnings.warn(
            f"{path}: the header has neither a qform nor an sform (both codes are 0): the "
            f"scan's position and which side is left are unknown; voxels of {_edges(header)} along "
            f"left, anterior, superior are assumed",
            stacklevel=2,
        )
    elif sform_code and qform_code and (off_mm := _distance_mm(path, header, shape)) is not None:
        warnings.warn(
            f"{path}: qform (code {qform_code}) and sform (code {sform_code}) disagree by up to "
            f"{off_mm:.1f} mm; the sform is followed, as nibabel does. ITK and 3D Slicer may "
            f"follow the qform; results carry both, as the scan does",
            stacklevel=2,
        )
    elif sform_code and not qform_code and not _edges_agree(header):
        warnings.warn(
            f"{path}: pixdim states voxels of {_edges(header)}, the sform other ones; the sform is "
            f"followed, as nibabel does. ITK and 3D Slicer may follow pixdim",
            stacklevel=2,
        )


def carry_forms(source: Any, target: Any) -> None:
    """Copy the forms, their codes, voxel edges and unit of length from one header to another.

    A viewer may follow either form: with both copied it shows the two files aligned.
    """
    for name in _FORMS:
        target[name] = source[name]
    target["pixdim"][:4] = source["pixdim"][:4]
    target["xyzt_units"] = int(source["xyzt_units"]) & _SPATIAL


def _to_mm(path: Path, header: Any) -> float:
    code = int(header["xyzt_units"]) & _SPATIAL
    return unit_mm(path, "xyzt_units", _UNIT_CODES.get(code, f"code {code}"))


def _edges(header: Any) -> str:
    unit = _UNIT_CODES.get(int(header["xyzt_units"]) & _SPATIAL, "")
    return " x ".join(f"{n:g}" for n in header["pixdim"][1:4]) + f" {unit.replace('unknown', 'mm')}"


def _edges_agree(header: Any) -> bool:
    edges = np.linalg.norm(header.get_sform()[:3, :3], axis=0)
    return bool(np.allclose(header["pixdim"][1:4], edges, rtol=0.01))


def _distance_mm(path: Path, header: Any, shape: tuple[int, ...]) -> float | None:
    """Return the largest distance between a corner's two places; None within half a voxel."""
    try:
        qform = header.get_qform()
    except (HeaderDataError, ValueError):  # an invalid quaternion
        return float("inf")
    sform = header.get_sform()
    corners = np.array(np.meshgrid(*((0, max(n - 1, 0)) for n in shape[:3]), [1])).reshape(4, -1)
    off = float(np.linalg.norm(((qform - sform) @ corners)[:3], axis=0).max())
    edges = np.linalg.norm(sform[:3, :3], axis=0)
    return None if off <= 0.5 * edges.min() else off * _to_mm(path, header)
