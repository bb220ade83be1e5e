"""DICOM series for tests, header of a real CT slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

AXIAL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def real_slice() -> pydicom.Dataset:
    """Return the GE slice of 1997 that pydicom ships."""
    return pydicom.dcmread(get_testdata_file("CT_small.dcm"))


def write_series(
    folder: Path,
    hu: NDArray[Any],
    *,
    spacing_mm: tuple[float, float, float] = (0.7, 0.8, 2.5),
    orientation: NDArray[np.float64] = AXIAL,
    origin_mm: tuple[float, float, float] = (-100.0, 50.0, 20.0),
    intercept: int = -1024,
    signed: bool = True,
    bits: int = 16,
    junk: int = 0,
    **fields: Any,
) -> Path:
    """Write one file a slice of `(columns, rows, slices)`, under names out of order.

    The lowest `bits` of each pixel are stored, with `junk` above them.
    """
    folder.mkdir(exist_ok=True)
    x_mm, y_mm, z_mm = spacing_mm
    across = np.cross(*orientation)
    series = pydicom.uid.generate_uid()
    for k in range(hu.shape[2]):
        header = real_slice()
        header.Columns, header.Rows = hu.shape[:2]
        header.PixelSpacing = [y_mm, x_mm]
        header.ImageOrientationPatient = [f"{n:.9f}" for n in orientation.ravel()]
        header.ImagePositionPatient = [f"{n:.9f}" for n in origin_mm + across * z_mm * k]
        header.RescaleSlope, header.RescaleIntercept = 1, intercept
        header.InstanceNumber, header.SeriesInstanceUID = k + 1, series
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = (
            pydicom.uid.generate_uid()
        )
        header.PixelRepresentation, header.BitsStored, header.HighBit = (
            int(signed),
            bits,
            bits - 1,
        )
        stored = (hu[..., k].T - intercept) & (2**bits - 1)
        header.PixelData = (stored | junk << bits).astype("<u2").tobytes()
        for name in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
            if name in header:
                delattr(header, name)
        for name, value in fields.items():
            setattr(header, name, value)
        header.save_as(folder / f"{k * 7 % 10}{k}.dcm")
    return folder


def edited(folder: Path, number: int, **fields: Any) -> None:
    """Set fields of the file at a position among the sorted names; None deletes a field."""
    path = sorted(folder.iterdir())[number]
    slice_ = pydicom.dcmread(path)
    for name, value in fields.items():
        if value is None:
            delattr(slice_, name)
        else:
            setattr(slice_, name, value)
    slice_.save_as(path)
