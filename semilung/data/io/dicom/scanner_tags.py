"""Technical tags of a DICOM series: manufacturer, kernel, thickness, nothing of the patient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semilung.data.io.dicom.kernels import kernel_parts, manufacturer
from semilung.data.io.dicom.series import open_series
from semilung.data.io.dicom.slice_file import read_tags

KERNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]{0,15}")

_TAGS = ("Manufacturer", "ConvolutionKernel", "SliceThickness")


@dataclass(frozen=True)
class ScannerTags:
    """How a scan was made, as far as it is known.

    Attributes:
        manufacturer: A known name; empty for any other.
        kernel: Reconstruction kernel; empty where it is not known.
        thickness_mm: Thickness of a slice; None where it is not known.
    """

    manufacturer: str = ""
    kernel: str = ""
    thickness_mm: float | None = None


def scanner_tags(folder: Path) -> ScannerTags:
    """Read the technical tags of a folder's CT series; other formats than DICOM have none.

    Damaged values may run into others that identify the patient, so that only known manufacturers
    and words like a kernel's are returned.

    Raises:
        UserError: The series cannot be read.
    """
    if not folder.is_dir():
        return ScannerTags()
    files = open_series(folder).files
    return tags_of(read_tags(files[len(files) // 2], _TAGS))


def tags_of(values: Mapping[str, Any]) -> ScannerTags:
    """Keep what is surely technical of the tags of a slice.

    Example:
        >>> tags_of({"Manufacturer": "GE MEDICAL SYSTEMS", "ConvolutionKernel": "LUNG"})
        ScannerTags(manufacturer='GE', kernel='LUNG', thickness_mm=None)
    """
    # some scanners write the kernel and its strength
    first = next(iter(kernel_parts(values.get("ConvolutionKernel"))), "").strip()
    return ScannerTags(
        manufacturer(values.get("Manufacturer")),
        first if KERNEL.fullmatch(first) else "",
        _thickness_mm(values.get("SliceThickness")),
    )


def _thickness_mm(value: Any) -> float | None:
    try:
        thickness_mm = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return thickness_mm if 0 < thickness_mm <= 100 else None
