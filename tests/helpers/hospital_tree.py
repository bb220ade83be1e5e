"""A tree of DICOM as a hospital has it, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from dicom_series import write_series

SHAPE = (24, 20, 4)
SECRETS = {
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19511224",
    "PatientID": "MRN-4711",
    "SeriesDescription": "Jane Doe thorax",
    "ReferringPhysicianName": "House^G",
}
"""What identifies the patient of a series."""


def chest(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Return HU of lung with a body wall of soft tissue and bone."""
    hu = np.random.default_rng(seed).normal(-850, 40, shape).astype(int)
    hu[:, :6] = np.random.default_rng(seed + 1).normal(40, 30, hu[:, :6].shape)
    hu[2:4, 2:4] = 500
    return hu


def write_ct(
    folder: Path,
    *,
    uid: str,
    study: str = "1.2.1",
    number: int = 1,
    kernel: str = "STANDARD",
    step_mm: float = 2.5,
    hu: np.ndarray | None = None,
    **fields: Any,
) -> Path:
    """Write a CT series next to what is in the folder, its slice `k` the instance `<uid>.<k>`."""
    hu = chest() if hu is None else hu.astype(int)
    folder.mkdir(parents=True, exist_ok=True)
    new = write_series(
        folder / f"new{uid}",
        hu,
        spacing_mm=(0.7, 0.8, step_mm),
        **{
            **SECRETS,
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SeriesInstanceUID": uid,
            "StudyInstanceUID": study,
            "FrameOfReferenceUID": f"{study}.9",
            "SeriesNumber": number,
            "ConvolutionKernel": kernel,
            "SliceThickness": step_mm,
            "SpacingBetweenSlices": step_mm,
            **fields,
        },
    )
    for path in new.iterdir():
        one = pydicom.dcmread(path)
        one.SOPInstanceUID = f"{uid}.{int(one.InstanceNumber) - 1}"
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.save_as(folder / f"{uid}_{path.name}")
        path.unlink()
    new.rmdir()
    return folder
