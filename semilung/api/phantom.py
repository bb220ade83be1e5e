"""`semilung data phantom`: a cohort of procedural chest CTs."""

from __future__ import annotations

from pathlib import Path

from semilung.api.paths import PathLike
from semilung.data.phantom import write_phantom


def phantom(
    out: PathLike, *, scans: int = 24, size: int = 64, spacing_mm: float = 2.5, seed: int = 0
) -> Path:
    """Write synthetic scans of all roles, their labels and a manifest.

    Args:
        out: A new or empty folder, or one that holds the same phantom, which is then kept.
        scans: Number of scans, one a patient, 8 or more.
        size: Voxels along each axis, 32 or more.
        spacing_mm: Edge length of a voxel; `size * spacing_mm` is 90 to 500 mm.
        seed: Equal arguments give equal scans.

    Returns:
        The manifest.

    Raises:
        UserError: An argument is out of range, or the folder holds something else.
    """
    return write_phantom(Path(out), scans=scans, size=size, spacing_mm=spacing_mm, seed=seed)
