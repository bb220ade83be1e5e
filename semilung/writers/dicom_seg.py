"""Findings as DICOM SEG: one segment a finding, filed under the patient of the series.

The file carries the identity of its source (patient and study), as the standard demands and a PACS
needs; everything else that semilung writes carries none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semilung import __version__
from semilung.data.io.dicom.slice_file import quiet_pydicom
from semilung.data.io.volume import Volume
from semilung.files import whole_file
from semilung.types import UserError
from semilung.writers.scan_result import NOT_A_DEVICE, ScanResult

if TYPE_CHECKING:
    import pydicom

MAX_SEGMENTS = 1000
"""Most findings in a file: more than a patient's nodules, and minutes of work in a large scan."""

_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID",
           "FrameOfReferenceUID")  # fmt: skip
_EMPTY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate",
          "StudyTime", "AccessionNumber", "ReferringPhysicianName")  # fmt: skip
"""What may be empty and must be there; de-identified series lack some of it."""

_SERIES_NUMBER = 9700  # high, so that it is no number of the scanner's


def write_dicom_seg(
    path: str | os.PathLike[str], result: ScanResult, slices: Sequence[Path]
) -> None:
    """Write the labels of a scan as a DICOM SEG, the finding of label k as segment k.

    Each segment is coded as a nodule (SNOMED CT 27925004, in the lung 39607008), and names
    semilung, its version, the run and the threshold as its algorithm.

    Args:
        path: The file.
        result: At least one finding, and labels on the grid of the series.
        slices: The files of the series in the order of the last axis of the labels.

    Raises:
        UserError: highdicom is not installed, the series lacks an identifier, there are more
            findings than a SEG can hold, or the file cannot be written.
    """
    count = len(result.findings)
    if count > MAX_SEGMENTS:
        raise UserError(
            f"{path}: {count} findings are more than the {MAX_SEGMENTS} segments that are written "
            f"as DICOM SEG; raise the threshold or inference.min_volume_mm3, or choose another "
            f"--format"
        )
    if result.labels is None:
        raise ValueError("a DICOM SEG needs labels")
    if len(slices) != result.labels.shape[2]:
        raise UserError(
            f"{slices[0].parent}: a DICOM SEG is written of series with a file a slice, and this "
            f"one has {len(slices)} files of {result.labels.shape[2]} slices; choose another "
            f"--format"
        )
    with quiet_pydicom():
        try:
            segmentation = _segmentation(result, result.labels, _sources(slices))
        except ModuleNotFoundError as error:
            raise UserError(_WITHOUT_HIGHDICOM) from error
        except (UserError, MemoryError, OSError):
            raise
        except Exception as error:  # it quotes values of the header, which may name the patient
            raise UserError(
                f"{slices[0].parent}: the headers of the series do not allow a DICOM SEG "
                f"({type(error).__name__}); export the series again, or choose another --format"
            ) from None
        with whole_file(path, suffix=".dcm") as temporary:
            segmentation.save_as(temporary)


def require_highdicom() -> None:
    """Raise UserError unless a DICOM SEG can be written."""
    try:
        import highdicom  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(_WITHOUT_HIGHDICOM) from error


_WITHOUT_HIGHDICOM = (
    "writing DICOM SEG needs highdicom, which is not installed: pip install 'semilung[dicom]', or "
    "choose another --format"
)


def _sources(slices: Sequence[Path]) -> Sequence[pydicom.Dataset]:
    """Read the headers of all slices, and add what must be there, empty."""
    from pydicom import dcmread

    sources = []
    for path in slices:
        source = dcmread(path, stop_before_pixels=True)
        source.decode()
        if lacking := [name for name in _NEEDED if not source.get(name)]:
            raise UserError(
                f"{path}: the slice has no {lacking[0]}, without which a DICOM SEG cannot refer to "
                f"it; export the series again, or choose another --format"
            )
        for name in _EMPTY:
            if name not in source:
                setattr(source, name, "")
        sources.append(source)
    return sources


def _segmentation(result: ScanResult, labels: Volume, sources: Sequence[Any]) -> Any:
    import highdicom as hd
    from pydicom.valuerep import format_number_as_ds

    kind = np.uint8 if len(result.findings) < 256 else np.uint16
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=labels.data.astype(kind).transpose(2, 1, 0),  # slices, rows, columns
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_descriptions(result),
        series_instance_uid=hd.UID(),
        series_number=_SERIES_NUMBER,
        series_description="Lung nodules (semilung)",
        specific_character_set="ISO_IR 192",  # UTF-8 holds the names of every series and run
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="semilung",
        manufacturer_model_name="semilung",
        software_versions=__version__,
        device_serial_number=__version__,
        content_label="NODULES",
        content_description="Lung nodules by research software",
    )
    # highdicom copies the series' value, which need not be the step from slice to slice
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = format_number_as_ds(labels.spacing_mm[2])
    return segmentation


def _descriptions(result: ScanResult) -> list[Any]:
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    altered = Code("49755003", "SCT", "Morphologically Altered Structure")
    algorithm = hd.AlgorithmIdentificationSequence(
        name="semilung",
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        parameters={
            "run": result.run or "unknown",
            "threshold": "unknown" if result.threshold is None else f"{result.threshold:g}",
            "notice": NOT_A_DEVICE,
        },
    )
    segments = []
    for row in result.findings.to_dict("records"):
        number = int(row["label"])
        segment = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"Nodule {number}",
            segmented_property_category=altered,
            segmented_property_type=codes.SCT.Nodule,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=hd.UID(),
            tracking_id=f"nodule {number}",
            anatomic_regions=[codes.SCT.Lung],
        )
        segment.SegmentDescription = (
            f"{row['diameter_mm']:.1f} mm, probability {row['probability']:.2f}"
        )
        segments.append(segment)
    return segments
