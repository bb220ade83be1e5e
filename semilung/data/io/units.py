"""Units of length in headers, and the voxel edges that a CT may have, in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semilung.types import UserError

VOXEL_MM = (0.1, 12.0)
"""Smallest and largest voxel edge of a CT; others are in another unit, or damaged."""

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
    """Return a header's unit of length in mm; an unspecified unit is taken as the millimetre.

    Raises:
        UserError: The unit is unknown.

    Example:
        >>> unit_mm(Path("a.nrrd"), "space units", "cm")
        10.0
    """
    unit = name.strip().lower()
    if unit not in _MM:
        raise UserError(
            f"{path}: {field} {name[:40]!r} is no known unit of length (m, cm, mm, um); write the "
            f"file again in millimetres"
        )
    return _MM[unit]


def implausible_edges(edges_mm: Sequence[float]) -> str | None:
    """Say why no CT has voxels of these edges, and which unit they look like; None if plausible.

    Example:
        >>> implausible_edges((0.5, 0.5, 10.0)) is None
        True
        >>> implausible_edges((0.0007, 0.0007, 0.0025)).partition("; ")[2]
        'the numbers look like metres'
    """
    if _plausible(edges_mm):
        return None
    names = {
        1000.0: "metres",
        10.0: "centimetres",
        0.001: "microns, or millimetres under a wrong unit",
    }
    likely = [name for mm, name in names.items() if _plausible([mm * edge for edge in edges_mm])]
    low, high = VOXEL_MM
    shown = " x ".join(f"{edge:g}" for edge in edges_mm)
    hint = f"; the numbers look like {likely[0]}" if likely else ""
    return f"voxels of {shown} mm are not a CT's, whose edges are {low:g} to {high:g} mm{hint}"


def _plausible(edges_mm: Sequence[float]) -> bool:
    low, high = VOXEL_MM
    return min(edges_mm) >= low * (1 - _SLACK) and max(edges_mm) <= high * (1 + _SLACK)
