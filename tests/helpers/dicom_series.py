"""DICOM series for tests, made of a real CT slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

AXIAL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def real_slice() -> pydicom.Dataset:
    """A GE slice of 1997 that pydicom ships."""
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
    """One file a slice of `(columns, rows, slices)`, under names that are out of order.

    Of each pixel the lowest `bits` are stored, with `junk` above them.
    """
    folder.mkdir(exist_ok=True)
    x_mm, y_mm, z_mm = spacing_mm
    across = np.cross(*orientation)
    series = pydicom.uid.generate_uid()
    for k in range(hu.shape[2]):
        made = real_slice()
        made.Columns, made.Rows = hu.shape[:2]
        made.PixelSpacing = [y_mm, x_mm]
        made.ImageOrientationPatient = [f"{n:.9f}" for n in orientation.ravel()]
        made.ImagePositionPatient = [f"{n:.9f}" for n in origin_mm + across * z_mm * k]
        made.RescaleSlope, made.RescaleIntercept = 1, intercept
        made.InstanceNumber, made.SeriesInstanceUID = k + 1, series
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        made.PixelRepresentation, made.BitsStored, made.HighBit = int(signed), bits, bits - 1
        stored = (hu[..., k].T - intercept) & (2**bits - 1)  # what lies above is anybody's
        made.PixelData = (stored | junk << bits).astype("<u2").tobytes()
        for name in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
            if name in made:
                delattr(made, name)
        for name, value in fields.items():
            setattr(made, name, value)
        made.save_as(folder / f"{k * 7 % 10}{k}.dcm")
    return folder


def edited(folder: Path, number: int, **fields: Any) -> None:
    """Set fields of one file, by its place among their names; None takes a field away."""
    path = sorted(folder.iterdir())[number]
    slice_ = pydicom.dcmread(path)
    for name, value in fields.items():
        if value is None:
            delattr(slice_, name)
        else:
            setattr(slice_, name, value)
    slice_.save_as(path)
