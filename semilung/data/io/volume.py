"""Volumes: reading of every format, writing of most, and reorientation to RAS+."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import ArrayLike, NDArray

from semilung.data.io.dicom.series import files_of_series, open_series
from semilung.data.io.dicom.series_path import folder_and_series
from semilung.data.io.grid import Affine, Grid, Shape, spacing_of
from semilung.data.io.metaimage import open_metaimage, write_metaimage
from semilung.data.io.nifti import open_nifti, write_nifti
from semilung.data.io.nrrd import open_nrrd, write_nrrd
from semilung.data.io.opened_volume import OpenedVolume
from semilung.data.io.same_grid import is_part, ras_grid, same_grid
from semilung.exhaustion import exhausted
from semilung.files import whole_file
from semilung.types import UserError

TRUNCATED = (OSError, EOFError, zlib.error)
"""Errors of a reader where a file ends too early, or its checksum does not match."""

INVALID = (ValueError, OverflowError, TypeError, HeaderDataError)
"""Errors of a reader where a header's values are invalid."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels `(X, Y, Z)` and the `(4, 4)` affine from voxel indices to RAS+ millimetres.

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
        """Edge lengths of a voxel; see `spacing_of`."""
        return spacing_of(self.affine)


def read_volume(
    path: str | os.PathLike[str], *, series: str | None = None, segments: Sequence[str] = ()
) -> Volume:
    """Read a scan (HU) or mask, in its stored orientation and dtype.

    A sheared grid (tilted gantry) is kept, with a warning, in every format.

    Args:
        path: A file of one of `READERS`, or the folder of a CT's DICOM series, with `#` and the
            number of the series where it holds several (`study#3`).
        series: That number, instead; None where the folder holds only one CT volume.
        segments: Names of the segments that make a mask, of a `.seg.nrrd` of 3D Slicer, with `*`
            for anything; all of them by default.

    Raises:
        UserError: The file is missing, unreadable, truncated, empty, not 3D, of absurd size, too
            large for the memory, or its affine is not finite, singular or none of a CT.
    """
    path = Path(path)
    opened = _open(path, series, segments)
    with _reading_errors(path, "voxels"):
        data = opened.read().reshape(opened.grid.shape)
    return Volume(data, opened.grid.affine)


def read_grid(path: str | os.PathLike[str]) -> Grid:
    """Read shape and affine of a volume without its voxels; errors as `read_volume`."""
    return _open(Path(path)).grid


def require_volume_path(path: Path) -> None:
    """Check that a path is a folder, or a file with the suffix of a format; nothing is read.

    Raises:
        UserError: It does not exist, or no reader knows its suffix.
    """
    if not _exists_as_folder(folder_and_series(path)[0]):
        _reader_of(path)


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files of a volume: the slices of a series, or a header and its file of voxels.

    Of a volume that cannot be read only `path` is returned; reading it will report the error.
    """
    with suppress(UserError, OSError):
        folder, _ = folder_and_series(path)
        if folder.is_dir():
            return files_of_series(folder)
        if _suffix(path) in DETACHED:
            return tuple(dict.fromkeys((path, *_open(path).files)))
    return (path,)


def stem_of(path: Path) -> str:
    """Return a volume's name without its suffix; for a series, the name of its folder.

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
    """Write a volume atomically; its header holds nothing but the grid (no name, no date).

    Booleans become uint8.

    Args:
        path: File name that ends in one of `WRITERS`.
        data: `(X, Y, Z)`.
        affine: `(4, 4)`, voxel indices to RAS+ mm; a NIfTI has it as qform and sform, both with
            code 1 (scanner), the qform only where it can express the affine.
        like: A volume on the same grid. If both it and `path` are NIfTI, both of its forms, their
            codes, its `pixdim` and its unit of length are copied, so that every viewer shows the
            two aligned, whichever form it follows.
    """
    path = Path(path)
    suffix = _suffix(path)
    if suffix not in WRITERS:
        raise UserError(
            f"{path}: volumes are written as NIfTI, MetaImage or NRRD; choose a name that ends in "
            f"{', '.join(WRITERS)}"
        )
    data = data.astype(np.uint8) if data.dtype == np.bool_ else data
    grid = np.asarray(affine, np.float64)
    with whole_file(path, suffix=suffix) as temporary:
        if suffix in NIFTI and like is not None and _suffix(like) in NIFTI:
            write_nifti(temporary, data, grid, like=like)
        else:
            WRITERS[suffix](temporary, data, grid)


def to_ras(volume: Volume) -> Volume:
    """Flip and permute axes to run nearest to right, anterior, superior; without resampling.

    Example:
        >>> lps = Volume(np.arange(8).reshape(2, 2, 2), np.diag([-1.0, -1.0, 1.0, 1.0]))
        >>> ras = to_ras(lps)
        >>> np.diag(ras.affine).tolist(), int(ras.data[0, 0, 0]) == int(lps.data[1, 1, 0])
        ([1.0, 1.0, 1.0, 1.0], True)
    """
    orientation = nib.orientations.io_orientation(volume.affine)
    data = nib.orientations.apply_orientation(volume.data, orientation)
    return Volume(np.ascontiguousarray(data), ras_grid(volume).affine)


def _open(path: Path, series: str | None = None, segments: Sequence[str] = ()) -> OpenedVolume:
    """Open a folder as a DICOM series, and a file by its suffix."""
    is_folder = _is_folder(folder_and_series(path)[0])
    if series is not None and not is_folder:
        raise UserError(
            f"{path}: a series ({series[:20]!r}) is chosen in a folder of DICOM slices, and this "
            f"is a file; leave --series out"
        )
    if segments and (is_folder or _suffix(path) not in SEGMENTATIONS):
        raise UserError(
            f"{path}: segments are chosen by name in a .seg.nrrd of 3D Slicer, and this is none; "
            f"leave the option segments out"
        )
    with _reading_errors(path, "header"):
        if segments:
            return open_nrrd(path, segments)
        return open_series(path, series) if is_folder else _reader_of(path)(path)


@contextmanager
def _reading_errors(path: Path, part: str) -> Iterator[None]:
    """Turn the errors of a reader into a UserError that names the file and the cause."""
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
    """Return whether a path is a folder; raise UserError if it is missing or an empty file."""
    is_folder = _exists_as_folder(path)
    if not is_folder and path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty (0 bytes); copy or convert it again")
    return is_folder


def _exists_as_folder(path: Path) -> bool:
    """Return whether a path is a folder; raise UserError if it is missing."""
    reason = ""
    try:
        if path.is_dir() or path.is_file():
            return path.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        reason = f" ({error.strerror})"
    raise UserError(f"{path}: no such file{reason}; check the path")


def _reader_of(path: Path) -> Callable[[Path], OpenedVolume]:
    suffix = _suffix(path)
    if not suffix:
        raise UserError(
            f"{path}: no reader for this kind of file; supported are {', '.join(READERS)}, and the "
            f"folder of a DICOM series"
        )
    return READERS[suffix]


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((s for s in sorted(READERS, key=len, reverse=True) if name.endswith(s)), "")


READERS: dict[str, Callable[[Path], OpenedVolume]] = {
    ".nii": open_nifti,
    ".nii.gz": open_nifti,
    ".mhd": open_metaimage,
    ".mha": open_metaimage,
    ".nrrd": open_nrrd,
    ".nhdr": open_nrrd,
}
"""Suffix to reader, which raises `UserError`, or one of `TRUNCATED` or `INVALID`."""

NIFTI = {".nii", ".nii.gz"}
"""Suffixes of NIfTI, whose headers hold two transforms."""

WRITERS: dict[str, Callable[[Path, NDArray[Any], Affine], None]] = {
    ".nii.gz": partial(write_nifti, like=None),
    ".nii": partial(write_nifti, like=None),
    ".mha": write_metaimage,
    ".nrrd": write_nrrd,
}
"""Suffix to writer."""

SEGMENTATIONS = {".nrrd", ".nhdr"}
"""Suffixes under which 3D Slicer saves segmentations, cropped to their segments."""

DETACHED = {".mhd", ".mha", ".nrrd", ".nhdr"}
"""Formats whose header may name another file for its voxels."""


def labels_fit(path: Path, labels: Grid | Volume, image: Grid | Volume) -> bool:
    """Return whether labels are on the grid of their image, or on a part of it.

    A part is accepted for NRRD only: 3D Slicer crops a segmentation to its segments when it saves
    one, so that the rest is background. In other formats slices are missing.
    """
    return same_grid(labels, image) or (_suffix(path) in SEGMENTATIONS and is_part(labels, image))
