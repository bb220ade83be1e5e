"""The prediction of one scan, and its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semilung.data import Volume, write_volume
from semilung.inference.output_files import output, output_names


@dataclass(frozen=True)
class Prediction:
    """Nodules of a scan, on the scan's own grid.

    Attributes:
        scan: The file, or folder of DICOM slices, that was predicted.
        mask: `(X, Y, Z)` uint8, 1 in nodules.
        probability: `(X, Y, Z)` float32 in [0, 1].
    """

    scan: Path
    mask: Volume
    probability: Volume

    def write(
        self, folder: str | os.PathLike[str], *, probability: bool = True, overwrite: bool = False
    ) -> list[Path]:
        """Write `<scan>_nodules.nii.gz` and `<scan>_probability.nii.gz` in the scan's geometry.

        Args:
            folder: Is made where it does not exist.
            probability: Write the probability too.
            overwrite: Replace a mask that exists.

        Returns:
            The files written.

        Raises:
            UserError: A mask of the scan exists, or the folder cannot be written.
        """
        volumes = {
            "nodules": self.mask,
            **({"probability": self.probability} if probability else {}),
        }
        folder = Path(folder)
        name = output_names([self.scan], folder, list(volumes), overwrite=overwrite)[self.scan]
        files = {output(folder, name, kind): volume for kind, volume in volumes.items()}
        write_volumes(files, self.scan)
        return list(files)


def write_volumes(volumes: Mapping[Path, Volume], scan: Path) -> None:
    """Write the files of a scan, the first one, its mask, last: if it exists, all of them do."""
    for path, volume in reversed(list(volumes.items())):
        write_volume(path, volume.data, volume.affine, like=scan)
