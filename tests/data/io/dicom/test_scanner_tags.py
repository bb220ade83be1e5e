"""Technical tags of DICOM series, and nothing of the patient."""

import numpy as np
import pytest
from dicom_series import write_series

from semilung.data.io.dicom.scanner_tags import ScannerTags, scanner_tags, tags_of

HU = np.full((8, 8, 3), -500, np.int32)


def test_scanner_tags_of_a_series_are_read(tmp_path):
    folder = write_series(
        tmp_path / "s", HU, Manufacturer="SIEMENS", ConvolutionKernel="B30f", SliceThickness="2.5"
    )
    assert scanner_tags(folder) == ScannerTags("Siemens", "B30f", 2.5)


def test_scanner_tags_of_other_formats_are_not_known(tmp_path):
    (tmp_path / "scan.nii.gz").touch()
    assert scanner_tags(tmp_path / "scan.nii.gz") == ScannerTags()


@pytest.mark.parametrize(
    ("values", "tags"),
    [
        ({}, ScannerTags()),
        ({"Manufacturer": "Doe^Jane", "ConvolutionKernel": "Doe^Jane"}, ScannerTags()),
        ({"Manufacturer": None, "ConvolutionKernel": None}, ScannerTags()),
        ({"ConvolutionKernel": "STANDARD 1970-01-01 JANE DOE"}, ScannerTags()),
        ({"ConvolutionKernel": ["Br40d", "3"]}, ScannerTags(kernel="Br40d")),
        ({"ConvolutionKernel": []}, ScannerTags()),
        ({"Manufacturer": "GE"}, ScannerTags("GE")),
        ({"Manufacturer": "Gene Kelly"}, ScannerTags()),
        ({"Manufacturer": "Canon Medical Systems"}, ScannerTags("Canon")),
        ({"SliceThickness": "thin"}, ScannerTags()),
        ({"SliceThickness": -1}, ScannerTags()),
        ({"SliceThickness": float("nan")}, ScannerTags()),
        ({"SliceThickness": [1, 2]}, ScannerTags()),
    ],
)
def test_tags_of_what_is_not_surely_technical_is_left_out(values, tags):
    assert tags_of(values) == tags
