"""The importers `dicom_seg` and `rtstruct`: CT series with masks that DICOM objects hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from semilung.data.importers.dicom.annotation import NODULES, Annotation, annotated_cases
from semilung.data.importers.dicom.rtstruct_file import read_rtstruct
from semilung.data.importers.dicom.seg_file import read_seg
from semilung.data.importers.importer import importers
from semilung.data.io.segments import as_patterns
from semilung.data.manifest.cases import Case


class _MaskImporter:
    """What both have in common: options, and a case for each CT series with an object."""

    modality: ClassVar[str]
    read: ClassVar[staticmethod[[Path], Annotation]]

    def __init__(
        self, *, segments: str | Sequence[str] = NODULES, copy: bool = False, key: str = ""
    ) -> None:
        self._patterns, self._copy = as_patterns(segments), copy
        self._key = Path(key) if key else None

    def cases(self, source: Path, out: Path) -> Sequence[Case]:
        """Return a case for each CT series with a mask; errors as `annotated_cases`."""
        return annotated_cases(
            source,
            out,
            modality=self.modality,
            read=self.read,
            patterns=self._patterns,
            key=self._key,
            copy=self._copy,
        )


@importers.register("dicom_seg")
class DicomSeg(_MaskImporter):
    """DICOM SEG objects in a tree, each with the CT series that it refers to.

    Each chosen segment is a label of the mask, on the grid of the CT. A voxel of several segments
    gets the smallest of them. Fractional segments hold voxels from 0.5 on. CT series without a SEG
    are left out (import them with `dicom`). Names are pseudonyms, as in `dicom`.

    Args:
        segments: Names or coded types of segments that are nodules, with `*` for anything, such as
            `[nodule*, "GTV 1"]`; by default those with nodule, lesion, tumour, mass or the like.
        copy: Convert the images to NIfTI, in `images/` under pseudonyms, instead of naming them
            where they are.
        key: File of the pseudonyms' key; by default `OUT.key`, next to the folder OUT.

    Raises:
        ValueError: `segments` are no names.
    """

    modality, read = "SEG", staticmethod(read_seg)


@importers.register("rtstruct")
class RtStruct(_MaskImporter):
    """DICOM RTSTRUCT objects in a tree, each with the CT series that it refers to.

    Each chosen region (ROI) is a label of the mask, on the grid of the CT: pixels whose centre is
    inside an odd number of its closed planar contours, or on one. A voxel of several regions gets
    the smallest of them. Slices between contours are not filled. CT series without a structure set
    are left out (import them with `dicom`). Names are pseudonyms, as in `dicom`.

    Args:
        segments: Names of regions that are nodules, with `*` for anything, such as
            `[nodule*, "GTV 1"]`; by default those with nodule, lesion, tumour, mass, GTV or the
            like.
        copy: Convert the images to NIfTI, in `images/` under pseudonyms, instead of naming them
            where they are.
        key: File of the pseudonyms' key; by default `OUT.key`, next to the folder OUT.

    Raises:
        ValueError: `segments` are no names.
    """

    modality, read = "RTSTRUCT", staticmethod(read_rtstruct)
