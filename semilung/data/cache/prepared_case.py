"""A case in the prepared cache: its grid, crops, lungs and nodules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.data.cache.store import StoredVolume, open_entry, read_crop
from semilung.data.content.lungs import BLOCK
from semilung.data.io.grid import Affine, Grid, Shape, voxel_of
from semilung.data.manifest.cases import Case
from semilung.data.manifest.nodules import UNMEASURED_MM


class PreparedNodule(NamedTuple):
    """A nodule on the prepared grid.

    Attributes:
        name: As in `nodules.csv`; without it, the label of the prepared mask.
        voxel: Index of its centre, not rounded.
        diameter_mm: As measured; of a ball of the mask's volume where there is no row; None where
            unknown.
        ignored: Neither nodule nor background.
        targets: Of characterization.
    """

    name: str
    voxel: tuple[float, float, float]
    diameter_mm: float | None
    ignored: bool = False
    targets: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class PreparedCase:
    """A case and its files in the cache. Pickles as paths; files are opened once a process.

    Attributes:
        case: The manifest's row.
        files: Cache file of each field: `image`, and `mask` and `anatomy` where available.
    """

    case: Case
    files: dict[str, Path]

    @property
    def name(self) -> str:
        """The case's unique name in the manifest."""
        return self.case.case

    def volume(self, field: str) -> StoredVolume:
        """Open the volume of a field.

        Raises:
            UserError: The cache file is missing or damaged.
        """
        return open_entry(self.files[field])

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        return self.volume("image").shape

    @property
    def affine(self) -> Affine:
        """`(4, 4)`, prepared voxel indices to RAS+ mm."""
        return np.array(self.volume("image").meta["affine"])

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel edge lengths."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(x), float(y), float(z))

    @property
    def source(self) -> Grid:
        """The original scan's grid, onto which results are resampled."""
        return _source(self.volume("image").meta)

    @property
    def foreground(self) -> NDArray[np.int16]:
        """`(M, 3)` voxel indices of nodules: at most 256 of each mask, else the centres."""
        if "mask" not in self.files:
            voxels = np.rint([n.voxel for n in self.nodules if not n.ignored]).reshape(-1, 3)
            return np.clip(voxels, 0, np.array(self.shape) - 1).astype(np.int16)
        packed = self.volume("mask").meta["foreground"]
        return np.frombuffer(packed, np.int16).reshape(-1, 3)

    @property
    def diameters_mm(self) -> NDArray[np.float32]:
        """`(M,)` diameter of the nodule of each `foreground` voxel, of the ball of equal volume."""
        if "mask" not in self.files:
            sizes = [n.diameter_mm or UNMEASURED_MM for n in self.nodules if not n.ignored]
            return np.array(sizes, np.float32)
        return np.frombuffer(self.volume("mask").meta["diameters_mm"], np.float32)

    @property
    def nodules(self) -> list[PreparedNodule]:
        """Nodules of a labelled case: rows of `nodules.csv`, else instances of its mask."""
        if self.case.nodules:
            affine = self.affine
            voxels = [voxel_of(affine, nodule.centre_mm).tolist() for nodule in self.case.nodules]
            return [
                PreparedNodule(n.name, (x, y, z), n.diameter_mm, n.ignored, n.targets)
                for n, (x, y, z) in zip(self.case.nodules, voxels, strict=True)
            ]
        if "mask" not in self.files:
            return []
        rows = self.volume("mask").meta["nodules"]
        return [PreparedNodule(str(label), (x, y, z), mm) for label, x, y, z, mm in rows]

    @property
    def checksums(self) -> bytes:
        """CRC-32 of each stored chunk of the image; equal volumes have equal ones."""
        return self.volume("image").checksums.tobytes()

    @property
    def lungs(self) -> NDArray[np.bool_] | None:
        """Blocks that hold lung (`lung_blocks`); None where not searched or not found."""
        packed = self.volume("image").meta["lungs"]
        if packed is None:
            return None
        shape = [-(-n // BLOCK) for n in self.shape]
        bits = np.frombuffer(packed, np.uint8)
        return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)

    def crop(self, field: str, start: Shape, size: Shape) -> NDArray[Any]:
        """Read the box of `size` voxels at `start`, which may extend beyond the volume.

        Images (int16 HU) and labels (uint8) are padded by reflection. Padding with air would show
        the network where a volume ends, and so where the nodule of a cube is.

        Raises:
            UserError: The cache file is missing or damaged.
        """
        return read_crop(self.volume(field), start, size)

    def read(self, field: str) -> NDArray[Any]:
        """Read the whole volume of a field; errors as `crop`."""
        return self.volume(field).read()


def _source(meta: Mapping[str, Any]) -> Grid:
    x, y, z = meta["source_shape"]
    return Grid((x, y, z), np.array(meta["source_affine"]))
