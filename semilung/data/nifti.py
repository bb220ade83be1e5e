"""NIfTI files from anywhere: what a header promises is weighed before a voxel is read.

Only the header's own block is parsed, by nibabel, and only the voxels are read: no extension, no
second file, no other format that hides behind the suffix.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from semilung.data.stored import Stored
from semilung.types import UserError

_HEADERS = {348: Nifti1Header, 540: Nifti2Header}


@dataclass(frozen=True)
class Nifti:
    """An opened file: `(4, 4)` voxel-to-mm `affine`, what is `stored`, its scaled `voxels()`."""

    header: Any
    stored: Stored

    @property
    def affine(self) -> NDArray[np.float64]:
        """From voxel indices to RAS+ millimetres."""
        return np.asarray(self.header.get_best_affine(), np.float64)

    def voxels(self) -> NDArray[Any]:
        """All voxels, scaled as the header says; a compressed file's checksum is verified.

        Raises:
            OSError, EOFError, zlib.error: The file is truncated or damaged.
        """
        data = self.stored.voxels()
        slope, inter = self.header.get_slope_inter()
        if slope is not None:
            data = apply_read_scaling(data, np.asanyarray(slope), np.asanyarray(inter))
        return data


def open_nifti(path: Path) -> Nifti:
    """Read the header of a `.nii` or `.nii.gz` and weigh what it promises.

    Raises:
        UserError: It is no NIfTI, or promises more than is believed or than the file can hold.
        OSError, EOFError, ValueError, zlib.error: It is truncated or damaged.
    """
    packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if packed else path.open("rb") as stream:
        block = stream.read(max(_HEADERS))
    sizes = (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big"))
    size = next((n for n in _HEADERS if n in sizes), len(block) + 1)
    if len(block) < size:
        raise UserError(
            f"{path}: the header cannot be read: this is no whole NIfTI-1 or NIfTI-2 file"
        )
    header = _HEADERS[size](block[:size])
    stored = Stored(
        path,
        tuple(int(n) for n in header.get_data_shape()),
        header.get_data_dtype(),
        offset=int(header.get_data_offset()),
        packing="gzip" if packed else "",
    )
    stored.weigh()
    return Nifti(header, stored)
