"""The scan of LIDC-IDRI with reference masks, its readings, and where their pixels are in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from semilung.data.importers.lidc.reader_xml import Reading, read_readings

CORNER = (12, 76)
"""First column and row of the reference, which is cropped from slices of 512 x 512 pixels."""

_PLACE = r"<imageZposition>([^<]*)</imageZposition>\s*<imageSOP_UID>\s*(\S+?)\s*</imageSOP_UID>"


class LocatedReadings(NamedTuple):
    """Readings, slice of each SOP instance, and the reference in whole slices."""

    readings: tuple[Reading, ...]
    slices: dict[str, int]
    votes: NDArray[np.uint8]
    nodules: NDArray[np.uint8]


def located_readings(real_data: Path) -> LocatedReadings:
    """Return the readings and masks of `scans/lidc_0132`."""
    path = real_data / "lidc_dicom/xml_cases/157_164.xml"
    affine, votes = _whole(real_data, "votes")
    places = re.findall(_PLACE, path.read_text())
    slices = {uid: round((float(z) - affine[2, 3]) / affine[2, 2]) for z, uid in places}
    return LocatedReadings(
        read_readings(path).readings, slices, votes, _whole(real_data, "nodules")[1]
    )


def _whole(real_data: Path, name: str) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    image = nib.load(real_data / f"scans/lidc_0132_{name}.nii.gz")
    x, y, z = image.shape
    whole = np.zeros((512, 512, z), np.uint8)
    a, b = CORNER
    whole[a : a + x, b : b + y] = np.asarray(image.dataobj)
    return image.affine, whole
