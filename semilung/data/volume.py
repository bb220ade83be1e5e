"""Volumes on disk and in memory: grid, orientation, reading and writing."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import ArrayLike, NDArray

from semilung.data.dicom import files_of_series, open_series
from semilung.data.metaimage import open_metaimage
from semilung.data.nifti import open_nifti
from semilung.data.nrrd import open_nrrd
from semilung.data.placed import Voxels
from semilung.files import whole_file
from semilung.types import UserError

Shape: TypeAlias = tuple[int, int, int]
Affine: TypeAlias = NDArray[np.float64]

MAX_VOXELS = 2**30
"""More voxels than this (2 GiB as int16) are refused before any is read, or made by resampling."""

VOXEL_MM = (1e-3, 1e3)
"""Edges of a voxel that are believed; no scanner is finer or coarser."""

FAR_MM = 1e6
"""An origin further away than this is no place of a patient."""


DAMAGE = (OSError, EOFError, ValueError, OverflowError, TypeError, zlib.error, HeaderDataError)
"""What a damaged file may raise in a reader, which is not the reader's fault."""


class Header(NamedTuple):
    """The grid of a volume without its voxels: `shape` and the `(4, 4)` voxel-to-mm `affine`."""

    shape: Shape
    affine: Affine


class Source(Protocol):
    """An opened volume, as a reader returns it: the grid in RAS+ mm, voxels when asked for."""

    @property
    def affine(self) -> Affine: ...  # noqa: D102
    @property
    def stored(self) -> Voxels: ...  # noqa: D102
    def voxels(self) -> NDArray[Any]: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels `(X, Y, Z)` and the `(4, 4)` affine that takes voxel indices to RAS+ millimetres.

    Example:
        >>> volume = Volume(np.zeros((4, 5, 6), np.int16), np.diag([0.7, 0.7, 2.0, 1.0]))
        >>> volume.shape, volume.spacing_mm
        ((4, 5, 6), (0.7, 0.7, 2.0))
    """

    data: NDArray[Any]
    affine: Affine

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        x, y, z = self.data.shape
        return (x, y, z)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel."""
        return spacing_of(self.affine)


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Voxel edge lengths in mm: the norms of the affine's first three columns."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return (float(x), float(y), float(z))


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Read a scan or mask in its own orientation and its own number type (HU for a CT).

    Args:
        path: A file of one of `READERS`, or the folder of a CT's DICOM series.

    Raises:
        UserError: The file is missing, unreadable, truncated, empty, not 3D, of absurd size, too
            large for the memory, or its affine is not finite, singular or absurd.
    """
    path = Path(path)
    source, header = _open(path)
    try:
        data = source.voxels().reshape(header.shape)
    except DAMAGE as error:
        msg = f"{path}: the voxels cannot be read, the file is truncated or damaged ({error})"
        raise UserError(f"{msg}; copy or convert it again") from error
    except MemoryError as error:
        msg = f"{path}: its {math.prod(header.shape)} voxels do not fit in memory"
        raise UserError(msg) from error
    return Volume(data, header.affine)


def read_header(path: str | os.PathLike[str]) -> Header:
    """Shape and affine of a volume without reading its voxels; errors as `read_volume`."""
    return _open(Path(path))[1]


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that a volume is made of: a series' slices, or voxels in a file beside a header.

    One that cannot be read is given alone: whoever reads it will say what is wrong.
    """
    with suppress(UserError, OSError):
        if path.is_dir():
            return files_of_series(path)
        if _suffix(path) in DETACHED:
            return tuple(dict.fromkeys((path, *_open(path)[0].stored.files)))
    return (path,)


def stem_of(path: Path) -> str:
    """A volume's name without its suffix; a series' is its folder's.

    Example:
        >>> stem_of(Path("scans/a.b.nii.gz"))
        'a.b'
    """
    name = path.absolute().name
    return name[: len(name) - len(_suffix(path))]


def write_volume(path: str | os.PathLike[str], data: NDArray[Any], affine: ArrayLike) -> None:
    """Write a NIfTI atomically, with nothing in the header but the grid (no name, no date).

    The file appears under its name only when it is whole; booleans become uint8.
    """
    path = Path(path)
    suffix = _suffix(path)
    if suffix not in {".nii", ".nii.gz"}:
        raise UserError(f"{path}: volumes are written as .nii or .nii.gz, not {suffix or 'that'!r}")
    data = data.astype(np.uint8) if data.dtype == np.bool_ else data
    image = nib.Nifti1Image(data, np.asarray(affine, np.float64), dtype=data.dtype)
    image.header.set_xyzt_units("mm")
    with whole_file(path, suffix=suffix) as temporary:
        nib.save(image, temporary)


def to_ras(volume: Volume) -> Volume:
    """Flip and permute axes so that they run nearest to right, anterior, superior; no resampling.

    Example:
        >>> lps = Volume(np.arange(8).reshape(2, 2, 2), np.diag([-1.0, -1.0, 1.0, 1.0]))
        >>> ras = to_ras(lps)
        >>> np.diag(ras.affine).tolist(), int(ras.data[0, 0, 0]) == int(lps.data[1, 1, 0])
        ([1.0, 1.0, 1.0, 1.0], True)
    """
    orientation = nib.orientations.io_orientation(volume.affine)
    data = nib.orientations.apply_orientation(volume.data, orientation)
    return Volume(np.ascontiguousarray(data), _upright(volume).affine)


def _open(path: Path) -> tuple[Source, Header]:
    """Open by suffix, or as a series, and check the grid."""
    reader = open_series if _is_folder(path) else _reader_of(path)
    try:
        source = reader(path)
        raw_shape, affine = source.stored.shape, source.affine
    except DAMAGE as error:
        msg = f"{path}: the header cannot be read, the file is truncated or damaged ({error})"
        raise UserError(f"{msg}; copy or convert it again") from error
    except MemoryError as error:
        msg = f"{path}: the header announces more than fits in memory; is it damaged?"
        raise UserError(msg) from error
    return source, Header(_checked_shape(path, raw_shape), _checked_affine(path, affine))


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder, and not a file that can be read."""
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes); copy or convert it again")
        if path.is_dir() or path.is_file():
            return path.is_dir()
        found = ""
    except OSError as error:  # a name that is too long, a folder that may not be entered
        found = f" ({error.strerror})"
    raise UserError(f"{path}: there is no such file{found}")


def _reader_of(path: Path) -> Callable[[Path], Source]:
    suffix = _suffix(path)
    if not suffix:
        known = f"there are: {', '.join(READERS)}, and the folder of a DICOM series"
        raise UserError(f"{path}: no reader for this kind of file; {known}")
    return READERS[suffix]


def _checked_shape(path: Path, raw: tuple[int, ...]) -> Shape:
    shape = raw[:3] if all(n == 1 for n in raw[3:]) else raw
    if len(shape) != 3:
        raise UserError(f"{path}: a 3D volume is wanted, found shape {raw}; split it into volumes")
    if min(shape) < 1:
        raise UserError(f"{path}: the volume is empty, its shape is {raw}")
    if math.prod(shape) > MAX_VOXELS:
        limit = f"the limit is {MAX_VOXELS} voxels"
        raise UserError(f"{path}: the header announces shape {raw}, {limit}; is it damaged?")
    x, y, z = (int(n) for n in shape)
    return (x, y, z)


def _checked_affine(path: Path, affine: Affine) -> Affine:
    if not np.isfinite(affine).all():
        raise UserError(f"{path}: the affine has values that are not finite; repair the header")
    edges = np.abs(affine[:3, :3]).max(axis=0)
    if edges.min() == 0:
        raise UserError(f"{path}: the affine is singular (a voxel of zero size); repair the header")
    (low, high), found = VOXEL_MM, ", ".join(f"{mm:g}" for mm in edges)
    if edges.min() < low or edges.max() > high or np.abs(affine[:3, 3]).max() > FAR_MM:
        msg = f"{path}: voxels of {found} mm at {affine[:3, 3].tolist()} are no scan's"
        raise UserError(f"{msg}; repair the header")
    if abs(np.linalg.det(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))) < 1e-2:
        msg = f"{path}: the affine is singular: its axes all but lie in a plane"
        raise UserError(f"{msg}; repair the header")
    return affine


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((s for s in sorted(READERS, key=len, reverse=True) if name.endswith(s)), "")


READERS: dict[str, Callable[[Path], Source]] = {
    ".nii": open_nifti,
    ".nii.gz": open_nifti,
    ".mhd": open_metaimage,
    ".mha": open_metaimage,
    ".nrrd": open_nrrd,
    ".nhdr": open_nrrd,
}
"""Suffix to opener, which raises `UserError` or one of `DAMAGE`."""

DETACHED = {".mhd", ".mha", ".nrrd", ".nhdr"}
"""Formats whose header may name another file for its voxels."""


def same_grid(a: Header | Volume, b: Header | Volume) -> bool:
    """Whether two volumes have the same voxels, in whatever order they store them.

    Shapes are equal, and corners within a tenth of a voxel.
    """
    return _coincide(a, b) or _coincide(_upright(a), _upright(b))


def _coincide(a: Header | Volume, b: Header | Volume) -> bool:
    if a.shape != b.shape:
        return False
    ends = np.array(np.meshgrid(*((0, n - 1) for n in a.shape), [1])).reshape(4, -1)
    distance_mm = np.linalg.norm((a.affine - b.affine) @ ends, axis=0).max()
    voxel_mm = min(np.linalg.norm(a.affine[:3, :3], axis=0))
    return bool(distance_mm <= 0.1 * voxel_mm)


def _upright(grid: Header | Volume) -> Header:
    """The grid with its axes in the order and direction of `to_ras`."""
    orientation = nib.orientations.io_orientation(grid.affine)
    x, y, z = (grid.shape[k] for k in np.argsort(orientation[:, 0]))
    affine = grid.affine @ nib.orientations.inv_ornt_aff(orientation, grid.shape)
    return Header((x, y, z), affine)
