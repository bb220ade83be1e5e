"""Volumes on disk and in memory: grid, orientation, reading and writing."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import ArrayLike, NDArray

from semilung.data.io.dicom.series import files_of_series, open_series
from semilung.data.io.grid_checks import SHEAR_DEGREES, checked_affine, checked_shape, shear_degrees
from semilung.data.io.grid_checks import Affine as Affine
from semilung.data.io.grid_checks import Shape as Shape
from semilung.data.io.metaimage import open_metaimage
from semilung.data.io.nifti import nifti_header, open_nifti
from semilung.data.io.nifti_forms import carry_forms
from semilung.data.io.nrrd import open_nrrd
from semilung.data.io.placed_voxels import Voxels
from semilung.exhaustion import exhausted
from semilung.files import whole_file
from semilung.types import UserError

TRUNCATED = (OSError, EOFError, zlib.error)
"""What a reader raises where a file ends too early, or its checksum does not hold."""

INVALID = (ValueError, OverflowError, TypeError, HeaderDataError)
"""What it raises where a header's values make no sense."""


class Grid(NamedTuple):
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
    """Voxel edge lengths in mm, whose product is a voxel's volume.

    They are the norms of the affine's first three columns; of a sheared grid those of the voxel
    made right-angled (for a tilted gantry the slices' distance, not their slanted step).

    Example:
        >>> tilted = np.diag([1.0, 1.0, 3.0, 1.0])
        >>> tilted[1, 2] = 1.5
        >>> spacing_of(tilted)
        (1.0, 1.0, 3.0)
    """
    if shear_degrees(affine) > SHEAR_DEGREES:
        x, y, z = np.abs(np.diag(np.linalg.qr(affine[:3, :3]).R))
    else:
        x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return (float(x), float(y), float(z))


def read_volume(path: str | os.PathLike[str], *, series: str | None = None) -> Volume:
    """Read a scan or mask in its own orientation and its own number type (HU for a CT).

    A sheared grid (of a tilted gantry) is read as it lies, with a warning, in every format.

    Args:
        path: A file of one of `READERS`, or the folder of a CT's DICOM series.
        series: Which series of that folder, by its number; None where there is but one CT volume.

    Raises:
        UserError: The file is missing, unreadable, truncated, empty, not 3D, of absurd size, too
            large for the memory, or its affine is not finite, singular or no CT's.
    """
    path = Path(path)
    source, grid = _open(path, series)
    with _explained(path, "voxels"):
        data = source.voxels().reshape(grid.shape)
    return Volume(data, grid.affine)


def read_grid(path: str | os.PathLike[str]) -> Grid:
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


def write_volume(
    path: str | os.PathLike[str],
    data: NDArray[Any],
    affine: ArrayLike,
    *,
    like: Path | None = None,
) -> None:
    """Write a NIfTI atomically, with nothing in the header but the grid (no name, no date).

    The file appears under its name only when it is whole; booleans become uint8.

    Args:
        path: A name that ends in `.nii` or `.nii.gz`.
        data: `(X, Y, Z)`.
        affine: `(4, 4)`, voxel indices to RAS+ mm; written as qform and sform, both with code 1
            (scanner), the qform only where it can express the affine.
        like: The volume whose grid this is. Where it is a NIfTI, both of its forms, their codes,
            its `pixdim` and its unit of length are taken over as they stand, so that the result
            lies on it in every viewer, whichever form that follows.
    """
    path = Path(path)
    suffix = _suffix(path)
    if suffix not in NIFTI:
        raise UserError(f"{path}: volumes are written as .nii or .nii.gz, not {suffix or 'that'!r}")
    data = data.astype(np.uint8) if data.dtype == np.bool_ else data
    header = nib.Nifti1Header()
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    if like is not None and _suffix(like) in NIFTI:
        carry_forms(nifti_header(like), header)
    else:
        _set_forms(header, data.shape, np.asarray(affine, np.float64))
    image = nib.Nifti1Image(data, None, header, dtype=data.dtype)
    with whole_file(path, suffix=suffix) as temporary:
        nib.save(image, temporary)


def _set_forms(header: nib.Nifti1Header, shape: tuple[int, ...], affine: Affine) -> None:
    header.set_xyzt_units("mm")
    header.set_sform(affine, 1)
    header.set_qform(affine, 1)
    x, y, z = shape
    if not same_grid(Grid((x, y, z), header.get_qform()), Grid((x, y, z), affine)):
        header["qform_code"] = 0  # a slight shear, which a quaternion cannot express


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


def _open(path: Path, series: str | None = None) -> tuple[Source, Grid]:
    """Open by suffix, or as a series, and check the grid."""
    is_folder = _is_folder(path)
    if series is not None and not is_folder:
        raise UserError(
            f"{path}: a series ({series[:20]!r}) is chosen in a folder of DICOM slices, and this "
            f"is a file; leave --series out"
        )
    with _explained(path, "header"):
        source = open_series(path, series) if is_folder else _reader_of(path)(path)
    shape, affine = source.stored.shape, source.affine
    return source, Grid(checked_shape(path, shape), checked_affine(path, affine))


@contextmanager
def _explained(path: Path, part: str) -> Iterator[None]:
    """Say what is the matter with a file: it is cut off, its values are invalid, or too many."""
    try:
        yield
    except TRUNCATED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(
                f"{path}: the {part} cannot be read: "
                f"{exhausted(error) or f'{error.strerror}; check the file and its disk'}"
            ) from error
        raise UserError(
            f"{path}: the {part} cannot be read, the file is truncated or damaged ({error}); copy "
            f"it again"
        ) from error
    except INVALID as error:
        raise UserError(
            f"{path}: the {part} cannot be read: {error}; repair the header, or write the file "
            f"again with the program that made it"
        ) from error
    except MemoryError as error:
        raise UserError(
            f"{path}: the {part} cannot be read: it does not fit in memory. Is the header damaged?"
        ) from error


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
"""Suffix to opener, which raises `UserError`, or one of `TRUNCATED` or `INVALID`."""

NIFTI = {".nii", ".nii.gz"}
"""What is written, and carries two transforms."""

SEGMENTATIONS = {".nrrd", ".nhdr"}
"""What 3D Slicer saves segmentations as, cropped to what they hold."""

DETACHED = {".mhd", ".mha", ".nrrd", ".nhdr"}
"""Formats whose header may name another file for its voxels."""


def same_grid(a: Grid | Volume, b: Grid | Volume) -> bool:
    """Whether two volumes have the same voxels, in whatever order they store them.

    Shapes are equal, and corners within a tenth of a voxel.
    """
    return _coincide(a, b) or _coincide(_upright(a), _upright(b))


def labels_fit(path: Path, labels: Grid | Volume, image: Grid | Volume) -> bool:
    """Whether labels lie on the voxels of their image: on the same grid, or on a part of it.

    A part counts in an NRRD alone: 3D Slicer crops a segmentation to its segments when it saves
    one, so that what it leaves out is background. Of other files it would be a lost slice.
    """
    if same_grid(labels, image):
        return True
    return _suffix(path) in SEGMENTATIONS and _is_part(_upright(labels), _upright(image))


def _is_part(part: Grid, whole: Grid) -> bool:
    start = np.rint((np.linalg.inv(whole.affine) @ part.affine[:, 3])[:3]).astype(int)
    if (start < 0).any() or (start + part.shape > whole.shape).any():
        return False
    affine = whole.affine.copy()
    affine[:3, 3] = (whole.affine @ [*start, 1])[:3]
    return _coincide(part, Grid(part.shape, affine))


def _coincide(a: Grid | Volume, b: Grid | Volume) -> bool:
    if a.shape != b.shape:
        return False
    ends = np.array(np.meshgrid(*((0, n - 1) for n in a.shape), [1])).reshape(4, -1)
    distance_mm = np.linalg.norm((a.affine - b.affine) @ ends, axis=0).max()
    voxel_mm = min(np.linalg.norm(a.affine[:3, :3], axis=0))
    return bool(distance_mm <= 0.1 * voxel_mm)


def _upright(grid: Grid | Volume) -> Grid:
    """The grid with its axes in the order and direction of `to_ras`."""
    orientation = nib.orientations.io_orientation(grid.affine)
    x, y, z = (grid.shape[k] for k in np.argsort(orientation[:, 0]))
    affine = grid.affine @ nib.orientations.inv_ornt_aff(orientation, grid.shape)
    return Grid((x, y, z), affine)
