"""Small cases on disk for the audits, prepared as every case is."""

from pathlib import Path

import numpy as np

from semilung.data import Case, DataConfig, PreparedCase, prepare, write_volume


def data_config(folder: Path, **changes) -> DataConfig:
    """Volumes stay as they are written."""
    return DataConfig(
        cache=str(folder / "cache"), spacing_mm=None, crop_to_lungs=False, workers=0, **changes
    )


def prepared(
    folder: Path, name: str, hu: np.ndarray, role: str, *, mask=None, patient: str | None = None
) -> PreparedCase:
    """A case of one volume, 1 mm voxels in RAS."""
    image, path = folder / f"{name}.nii.gz", folder / f"{name}_mask.nii.gz"
    write_volume(image, np.rint(hu).astype(np.int16), np.eye(4))
    if mask is not None:
        write_volume(path, mask.astype(np.uint8), np.eye(4))
    case = Case(name, patient or name, image, role, mask=None if mask is None else path)
    return prepare([case], data_config(folder), progress=False, processes=0)[0]
