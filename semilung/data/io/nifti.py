"""NIfTI files: the header is parsed by nibabel and checked before a voxel is read.

Only the header's own block and the voxels are read: no extension, no second file, no other format
under the same suffix.
"""

from __future__ import annotations

import gzip
import math
from functools import partial
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from semilung.data.io.grid import Affine, Grid, checked_grid
from semilung.data.io.nifti_forms import carry_forms, sform_or_qform, warn_of_forms
from semilung.data.io.opened_volume import OpenedVolume
from semilung.data.io.same_grid import same_grid
from semilung.data.io.stored_voxels import StoredVoxels
from semilung.types import UserError

_HEADERS = {348: Nifti1Header, 540: Nifti2Header}
_EXTENDER = 4  # bytes after the header, of which the first says whether extensions follow
_EXTENSION = 8  # bytes of an extension's size and code
_GZIP = b"\x1f\x8b"
_PAIR = (b"ni1", b"ni2")
_CODES = range(0, 64, 2)  # of extensions: all are even, and none is larger so far


def open_nifti(path: Path) -> OpenedVolume:
    """Open a `.nii` or `.nii.gz`: read its header and check the sizes that it states.

    Warns where the file's two transforms disagree, or where it has none.

    Raises:
        UserError: It is no single-file NIfTI, states implausible sizes or more than the file can
            hold, or an offset of the voxels within the header.
        OSError, EOFError, ValueError, zlib.error: It is truncated or damaged.
    """
    header = nifti_header(path)
    stored = StoredVoxels(
        path,
        tuple(int(n) for n in header.get_data_shape()),
        header.get_data_dtype(),
        offset=int(header["vox_offset"]),
        compression="gzip" if path.name.lower().endswith(".gz") else "",
    )
    stored.require_plausible_size()
    if stored.dtype.kind not in "iufc":
        raise UserError(
            f"{path}: voxels of type {header.get_value_label('datatype')} are no numbers of a "
            f"scan or mask; export the volume with one number a voxel"
        )
    affine = sform_or_qform(path, header)
    warn_of_forms(path, header, stored.shape)
    grid = checked_grid(path, stored.shape, affine)
    return OpenedVolume(grid, (path,), partial(_scaled, stored, header))


def _scaled(stored: StoredVoxels, header: Any) -> NDArray[Any]:
    """Read the voxels and apply the header's slope and intercept."""
    data = stored.read()
    slope, intercept = header.get_slope_inter()
    if slope is None:
        return data
    scaled: NDArray[Any] = apply_read_scaling(data, np.asanyarray(slope), np.asanyarray(intercept))
    return scaled


def nifti_header(path: Path) -> Any:
    """Read the header of a file, as nibabel parses it; only what depends on voxels is unchecked.

    Raises:
        As `open_nifti`.
    """
    packed = path.name.lower().endswith(".gz")
    with path.open("rb") as file:
        if (file.read(2) == _GZIP) != packed:
            raise UserError(
                f"{path}: the header cannot be read: the file is {'not ' * packed}compressed by "
                f"gzip, but its name says otherwise; name it {'.nii' if packed else '.nii.gz'}, or "
                f"copy it again"
            )
    with gzip.open(path) if packed else path.open("rb") as stream:
        block = stream.read(max(_HEADERS) + _EXTENDER + _EXTENSION)
    sizes = (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big"))
    size = next((n for n in _HEADERS if n in sizes), len(block) + 1)
    if len(block) < size:
        raise UserError(
            f"{path}: the header cannot be read: this is no whole NIfTI-1 or NIfTI-2 file"
        )
    header = _HEADERS[size](block[:size], check=False)
    _require_single(path, header)
    _require_offset(path, header, block[size:])
    header.check_fix()
    return header


def write_nifti(path: Path, data: NDArray[Any], affine: Affine, *, like: Path | None) -> None:
    """Write a `.nii` or `.nii.gz`, whose header holds nothing but the grid (no name, no date).

    Args:
        path: The file.
        data: `(X, Y, Z)`.
        affine: `(4, 4)`, voxel indices to RAS+ mm.
        like: A NIfTI on the same grid, whose forms are copied; see `write_volume`.
    """
    header = Nifti1Header()
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    if like is not None:
        carry_forms(nifti_header(like), header)
    else:
        _set_forms(header, data.shape, affine)
    nib.save(nib.Nifti1Image(data, None, header, dtype=data.dtype), path)


def _set_forms(header: Any, shape: tuple[int, ...], affine: Affine) -> None:
    header.set_xyzt_units("mm")
    header.set_sform(affine, 1)
    header.set_qform(affine, 1)
    x, y, z = shape
    if not same_grid(Grid((x, y, z), header.get_qform()), Grid((x, y, z), affine)):
        header["qform_code"] = 0  # a slight shear, which a quaternion cannot express


def _require_single(path: Path, header: Any) -> None:
    """Raise UserError for a pair of files (header and `.img`), and where the magic is none."""
    magic = bytes(header["magic"].item())
    if magic[:3] in _PAIR:
        raise UserError(
            f"{path}: its magic {magic[:3].decode()!r} says that the voxels are in a .img file "
            f"(a pair of files), but only single files are read; write it again as .nii or .nii.gz"
        )
    if magic != header.single_magic:
        raise UserError(
            f"{path}: the header cannot be read: its magic is {magic!r}, where a NIfTI has "
            f"{header.single_magic!r}. Is it Analyze 7.5, or damaged? Convert it to NIfTI"
        )


def _require_offset(path: Path, header: Any, tail: bytes) -> None:
    """Raise UserError where the voxels would begin within the header or an extension.

    The standard reads an offset that is too low as 352, ITK as 348, and nibabel refuses it: any
    choice may shift every voxel, so none is made.

    Args:
        path: The file, for messages.
        header: Parsed.
        tail: The bytes that follow the header.
    """
    offset, lowest = float(header["vox_offset"]), header.single_vox_offset
    if not math.isfinite(offset) or offset < lowest or offset != int(offset):
        raise UserError(
            f"{path}: the header says that the voxels begin at byte {offset:g} (vox_offset), where "
            f"{lowest} is the first possible one: their position is unknown; write the file again "
            f"with the program that made it, or repair vox_offset"
        )
    order: Literal["little", "big"] = "little" if header.endianness == "<" else "big"
    extension = int.from_bytes(tail[_EXTENDER : _EXTENDER + 4], order)
    code = int.from_bytes(tail[_EXTENDER + 4 : _EXTENDER + _EXTENSION], order)
    whole = tail[:1] != b"\0" and extension > 0 and extension % 16 == 0 and code in _CODES
    if whole and lowest + extension > offset:
        raise UserError(
            f"{path}: an extension of {extension} bytes reaches beyond byte {offset:g}, at which "
            f"the voxels are said to begin (vox_offset); write the file again, or repair vox_offset"
        )
