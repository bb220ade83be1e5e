"""Survey of one scan: what the page on a cohort says and shows of it, without its volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semilung.data.anatomy.classes import ANATOMY
from semilung.data.content.chest_sides import Side, chest_sides
from semilung.data.content.lungs import coarse_volume, cut_faces
from semilung.data.content.nodule_instances import instance_centres, nodule_instances
from semilung.data.content.voxel_checks import whole_labels
from semilung.data.io.dicom.scanner_tags import KERNEL, ScannerTags, scanner_tags
from semilung.data.io.grid import ball_diameter_mm, ball_voxels, voxel_of
from semilung.data.io.resample import resample_onto
from semilung.data.io.same_grid import same_grid
from semilung.data.io.volume import Volume, to_ras
from semilung.data.manifest.cases import Case
from semilung.data.manifest.check_manifest import CaseVolumes, CheckedCase
from semilung.data.manifest.nodules import UNMEASURED_MM
from semilung.evaluation.overlay import LUNG_WINDOW_HU
from semilung.report.cohort.lung_crops import crop_features
from semilung.report.cohort.thumbnails import contrast_window, drawable, thumbnail
from semilung.types import IGNORE

HU_EDGES = np.arange(-1100, 501, 20)
"""Bins of the histograms; what lies outside is counted in none."""

HISTOGRAM_VOXELS = 2_000_000

Measured: TypeAlias = list[tuple[float | None, tuple[float, float, float]]]
"""Diameter in mm and centre in voxels of each nodule."""


@dataclass(frozen=True)
class SurveyedNodule:
    """A nodule of the mask, or of `nodules.csv` where there is no mask.

    Attributes:
        diameter_mm: Of the ball of the mask's volume, or as listed; None where not measured.
        voxel: Its centre in the scan, in RAS.
        place: Its centre in the lungs' box, 0 to 1 from left to right, back to front, bottom to
            top; None where the lungs are not known.
    """

    diameter_mm: float | None
    voxel: tuple[float, float, float]
    place: tuple[float, float, float] | None


@dataclass(frozen=True)
class LungSurvey:
    """The lungs of a scan.

    Attributes:
        volume_ml: Volume, airways and vessels within them partly included.
        cut: Faces of the volume that cut them off.
        sides: For each axis, whether anatomy agrees with the affine; empty where not assessed.
        shares: Share of their voxels in each bin of `HU_EDGES`.
    """

    volume_ml: float
    cut: list[str]
    sides: Mapping[str, Side]
    shares: NDArray[np.float64]


@dataclass(frozen=True)
class ScanSurvey:
    """A case and what was measured of it.

    Attributes:
        checked: The case, with its issues; its scan could not be read where `shape` is None.
        shape: Size in voxels, in RAS.
        spacing_mm: Voxel size, in RAS.
        scanner: How the scan was made, as far as known.
        is_hu: Whether the voxels may be HU; if not, nothing that follows is measured.
        lacking: Whether the scan is as wide as a chest and shows none.
        shares: Share of the voxels in each bin of `HU_EDGES`.
        lungs: The lungs; None where they were not found, or the scan is narrower than a chest.
        nodules: Its nodules.
        features: `scanner_features` of crops of lung, `(C, F)`.
        picture: JPEG, empty where the scan could not be read.
    """

    checked: CheckedCase
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] = (np.nan, np.nan, np.nan)
    scanner: ScannerTags = field(default_factory=ScannerTags)
    is_hu: bool = False
    lacking: bool = False
    shares: NDArray[np.float64] | None = None
    lungs: LungSurvey | None = None
    nodules: tuple[SurveyedNodule, ...] = ()
    features: NDArray[np.float64] | None = None
    picture: bytes = b""

    @property
    def case(self) -> Case:
        """The case."""
        return self.checked.case


def survey_scan(checked: CheckedCase, volumes: CaseVolumes) -> ScanSurvey:
    """Measure one scan.

    Args:
        checked: From `check_case`.
        volumes: From `check_case`; no longer needed afterwards.

    Raises:
        UserError: The tags of a DICOM series cannot be read.
    """
    if volumes.image is None:
        return ScanSurvey(checked)
    image = to_ras(volumes.image)
    is_hu = volumes.lungs is not None
    lungs = _lungs(volumes, image) if is_hu else None
    labels = _nodule_labels(checked.case, volumes, image)
    if volumes.mask is None:
        measured = _listed_nodules(checked.case, image)
    else:
        measured = _masked_nodules(labels, image)
    nodules = tuple(
        SurveyedNodule(mm, voxel, None if lungs is None else _place(voxel, image, lungs))
        for mm, voxel in measured
    )
    marked = (labels > 0) & (labels != IGNORE)
    shown = image.data if is_hu else drawable(image.data)
    return ScanSurvey(
        checked,
        image.shape,
        image.spacing_mm,
        _scanner(checked.case),
        is_hu,
        lacking=volumes.lungs is not None and volumes.lungs.lacking,
        shares=_shares(_sample(image.data)) if is_hu else None,
        lungs=None if lungs is None else _lung_survey(image, lungs),
        nodules=nodules,
        features=crop_features(image.data, marked, name=checked.case.case) if is_hu else None,
        picture=thumbnail(
            shown,
            marked,
            spacing_mm=image.spacing_mm,
            centre=_centre(image, lungs, nodules),
            window_hu=LUNG_WINDOW_HU if is_hu else contrast_window(shown),
        ),
    )


def _lungs(volumes: CaseVolumes, image: Volume) -> Volume | None:
    """The lungs on a coarse grid: of the anatomy where a manifest names one, else as searched."""
    if volumes.anatomy is not None:
        coarse = coarse_volume(_on_image(volumes.anatomy, image))
        lungs = np.rint(coarse.data) == ANATOMY["lung"]
        return Volume(lungs, coarse.affine) if lungs.any() else None
    return None if volumes.lungs is None else volumes.lungs.lungs


def _lung_survey(image: Volume, lungs: Volume) -> LungSurvey:
    coarse = coarse_volume(image)
    return LungSurvey(
        float(lungs.data.sum() * np.prod(lungs.spacing_mm) / 1000),
        cut_faces(lungs),
        chest_sides(coarse, lungs),
        _shares(coarse.data[lungs.data]),
    )


def _nodule_labels(case: Case, volumes: CaseVolumes, image: Volume) -> NDArray[np.uint8]:
    """Labels of the nodules on the image's grid in RAS: of the mask, or balls as listed."""
    if volumes.mask is not None:
        return nodule_instances(whole_labels(_on_image(volumes.mask, image).data))
    labels = np.zeros(image.shape, np.uint8)
    for nodule in case.nodules:
        if not nodule.ignored:
            radius_mm = (nodule.diameter_mm or UNMEASURED_MM) / 2
            box, ball = ball_voxels(image.shape, image.affine, nodule.centre_mm, radius_mm)
            labels[box][ball] = 1
    return labels


def _on_image(labels: Volume, image: Volume) -> Volume:
    """Labels in RAS; those of a file that was cropped to its segments on the image's grid."""
    labels = to_ras(labels)
    if same_grid(labels, image):
        return labels
    return resample_onto(labels, image.shape, image.affine, order=0, fill=0)


def _listed_nodules(case: Case, image: Volume) -> Measured:
    measured: Measured = []
    for nodule in case.nodules:
        if not nodule.ignored:
            x, y, z = voxel_of(image.affine, nodule.centre_mm).tolist()
            measured.append((nodule.diameter_mm, (x, y, z)))
    return measured


def _masked_nodules(labels: NDArray[np.uint8], image: Volume) -> Measured:
    centres = instance_centres(labels)
    counts = np.bincount(labels.ravel(), minlength=IGNORE)[list(centres)]
    diameters_mm = ball_diameter_mm(counts, float(np.prod(image.spacing_mm))).tolist()
    return list(zip(diameters_mm, centres.values(), strict=True))


def _place(voxel: tuple[float, ...], image: Volume, lungs: Volume) -> tuple[float, float, float]:
    """A voxel of the image in the box of its lungs, 0 to 1 along each axis."""
    world_mm = image.affine[:3, :3] @ voxel + image.affine[:3, 3]
    coarse = voxel_of(lungs.affine, world_mm.tolist())
    edges = [np.flatnonzero(lungs.data.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    x, y, z = (
        float((at - edge[0] + 0.5) / (edge[-1] - edge[0] + 1))
        for at, edge in zip(coarse, edges, strict=True)
    )
    return (x, y, z)


def _scanner(case: Case) -> ScannerTags:
    """Tags of a DICOM series; of other formats, what the manifest's columns say."""
    tags = scanner_tags(case.image)
    words = {name: case.targets.get(name, "").strip() for name in ("manufacturer", "kernel")}
    listed = {name: word if KERNEL.fullmatch(word) else "" for name, word in words.items()}
    return ScannerTags(
        tags.manufacturer or listed["manufacturer"],
        tags.kernel or listed["kernel"],
        tags.thickness_mm,
    )


def _centre(
    image: Volume, lungs: Volume | None, nodules: tuple[SurveyedNodule, ...]
) -> tuple[int, ...]:
    """Voxel to show: of the largest nodule, else the middle of the lungs, else of the scan."""
    centre: Any = np.subtract(image.shape, 1) / 2
    if nodules:
        centre = max(nodules, key=lambda nodule: nodule.diameter_mm or 0.0).voxel
    elif lungs is not None:
        middle = np.argwhere(lungs.data).mean(axis=0)
        world_mm = lungs.affine[:3, :3] @ middle + lungs.affine[:3, 3]
        centre = voxel_of(image.affine, world_mm.tolist())
    return tuple(np.clip(np.rint(centre), 0, np.subtract(image.shape, 1)).astype(int).tolist())


def _sample(data: NDArray[Any]) -> NDArray[Any]:
    step = max(1, round((data.size / HISTOGRAM_VOXELS) ** (1 / 3)))
    return data[::step, ::step, ::step]


def _shares(hu: NDArray[Any]) -> NDArray[np.float64]:
    counts, _ = np.histogram(hu, HU_EDGES)
    return counts / max(1, hu.size)
