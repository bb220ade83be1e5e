"""SEG and RTSTRUCT objects for tests, made byte by byte with highdicom and pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes

RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"


def sources(folder: Path, uid: str) -> list[pydicom.Dataset]:
    """Return the slices of a series in a folder, sorted."""
    slices = [pydicom.dcmread(path) for path in folder.glob(f"{uid}_*.dcm")]
    return sorted(slices, key=lambda one: one.ImagePositionPatient[2])


def write_seg(
    path: Path,
    slices: Sequence[pydicom.Dataset],
    masks: Sequence[np.ndarray],
    names: Sequence[str],
    *,
    kind: str = "BINARY",
) -> Path:
    """Write a SEG of masks `(columns, rows, slices)`; empty frames are left out."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import Segmentation, SegmentDescription

    algorithm = AlgorithmIdentificationSequence("tests", codes.cid7162.ArtificialIntelligence, "1")
    segments = [
        SegmentDescription(
            number,
            name,
            codes.SCT.MorphologicallyAbnormalStructure,
            codes.SCT.Nodule if "odule" in name else codes.SCT.Lung,
            "AUTOMATIC",
            algorithm,
        )
        for number, name in enumerate(names, start=1)
    ]
    pixels = np.stack([np.moveaxis(mask, 2, 0).swapaxes(1, 2) for mask in masks], axis=-1)
    seg = Segmentation(
        slices,
        pixels.astype(float if kind == "FRACTIONAL" else np.uint8),
        kind,
        segments,
        pydicom.uid.generate_uid(),
        9,
        pydicom.uid.generate_uid(),
        1,
        "tests",
        "tests",
        "1",
        "1",
        max_fractional_value=200,
    )
    seg.save_as(path)
    return path


def write_rtstruct(
    path: Path,
    slices: Sequence[pydicom.Dataset],
    contours: Sequence[tuple[str, Sequence[tuple[int, Sequence[tuple[float, float]]]]]],
    *,
    series: bool = True,
    geometry: str = "CLOSED_PLANAR",
) -> Path:
    """Write a structure set of regions: name, and contours as slice and points in pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = RTSTRUCT_CLASS, "1.2.840.10008.1.2.1"
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = RTSTRUCT_CLASS, meta.MediaStorageSOPInstanceUID
    data.Modality, data.SeriesInstanceUID = "RTSTRUCT", pydicom.uid.generate_uid()
    data.StudyInstanceUID, data.PatientID = slices[0].StudyInstanceUID, slices[0].PatientID
    data.PatientName = slices[0].PatientName
    frame, study, one = Dataset(), Dataset(), Dataset()
    one.SeriesInstanceUID = slices[0].SeriesInstanceUID
    study.RTReferencedSeriesSequence = [one] if series else []
    frame.FrameOfReferenceUID = slices[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    data.ReferencedFrameOfReferenceSequence = [frame]
    data.StructureSetROISequence, data.ROIContourSequence = [], []
    for number, (name, outlines) in enumerate(contours, start=1):
        roi, item = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        item.ReferencedROINumber = number
        item.ContourSequence = [_contour(slices[k], points, geometry) for k, points in outlines]
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(item)
    data.save_as(path)
    return path


def _contour(
    slice_: pydicom.Dataset, points: Sequence[tuple[float, float]], geometry: str
) -> Dataset:
    rows_mm, columns_mm = map(float, slice_.PixelSpacing)
    origin = np.array(slice_.ImagePositionPatient, float)
    contour = Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = geometry, len(points)
    places = origin + np.array(points) @ [[columns_mm, 0, 0], [0, rows_mm, 0]]
    contour.ContourData = [f"{value:.4f}" for value in places.ravel()]
    return contour
