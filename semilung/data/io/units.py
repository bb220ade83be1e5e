"""Units of length that headers name, and edges of a voxel that a CT may have, in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semilung.types import UserError

VOXEL_MM = (0.1, 12.0)
"""Edges of a voxel that a CT may have; finer and coarser ones are another unit's, or damaged."""

_UNITS: dict[float, tuple[str, ...]] = {
    1000.0: ("m", "meter", "meters", "metre", "metres"),
    10.0: ("cm", "centimeter", "centimeters", "centimetre", "centimetres"),
    1.0: ("mm", "millimeter", "millimeters", "millimetre", "millimetres"),
    0.001: ("um", "\u00b5m", "\u03bcm", "micron", "microns", "micrometer", "micrometers",
            "micrometre", "micrometres"),
}  # fmt: skip
_UNKNOWN = ("", "?", "???", "unknown")
_MM = {name: mm for mm, names in _UNITS.items() for name in names} | dict.fromkeys(_UNKNOWN, 1.0)
_SLACK = 0.01  # headers round


def unit_mm(path: Path, field: str, name: str) -> float:
    """Millimetres in a unit that a header names; one that it leaves open is the millimetre.

    Raises:
        UserError: It is no unit of length that is known.

    Example:
        >>> unit_mm(Path("a.nrrd"), "space units", "cm")
        10.0
    """
    known = name.strip().lower()
    if known not in _MM:
        raise UserError(
            f"{path}: {field} {name[:40]!r} is no unit of length that is read (m, cm, mm, um); "
            f"write the file again in millimetres"
        )
    return _MM[known]


def implausible_edges(edges_mm: Sequence[float]) -> str | None:
    """Why no CT has voxels of these edges, and which unit they look like; None where one may.

    Example:
        >>> implausible_edges((0.5, 0.5, 10.0)) is None
        True
        >>> implausible_edges((0.0007, 0.0007, 0.0025)).partition("; ")[2]
        'the numbers look like metres'
    """
    if _plausible(edges_mm):
        return None
    looks = {
        1000.0: "metres",
        10.0: "centimetres",
        0.001: "microns, or millimetres under a wrong unit",
    }
    likely = [name for mm, name in looks.items() if _plausible([mm * edge for edge in edges_mm])]
    low, high = VOXEL_MM
    shown = " x ".join(f"{edge:g}" for edge in edges_mm)
    return f"voxels of {shown} mm are no scan's (a CT's have edges of {low:g} to {high:g} mm)" + (
        f"; the numbers look like {likely[0]}" if likely else ""
    )


def _plausible(edges_mm: Sequence[float]) -> bool:
    low, high = VOXEL_MM
    return min(edges_mm) >= low * (1 - _SLACK) and max(edges_mm) <= high * (1 + _SLACK)
