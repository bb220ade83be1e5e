"""Unusual scans of a cohort, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from semilung.data.content.chest_sides import AXES
from semilung.data.content.lungs import CHEST_DEPTH_MM, CHEST_WIDTH_MM
from semilung.report.cohort.scan_survey import ScanSurvey

THICK_MM = 5.0
"""Distance of voxels beyond which a nodule of 6 mm may show in one slice only, or in none."""

FEW_SLICES, SHORT_MM = 20, 150.0
"""Fewer axial slices, or a shorter scan of a chest's width, hold no whole lungs."""

RATIO = 2.5
"""Voxels larger or smaller than the cohort's median by this factor are unusual."""

SMALL_ML, LARGE_ML = 1000.0, 10_000.0
"""Volumes of an adult's whole lungs lie between these."""

OUTSIDE = 0.08
"""A nodule's centre is this far outside the lungs' box, as a share of its edge, or further."""

REVERSED = {
    "left-right": (
        "the heart lies on the patient's right: left and right may be swapped; also seen in situs "
        "inversus, effusion, collapse and after surgery"
    ),
    "front-back": "the spine lies in front: front and back may be swapped",
    "head-feet": "the lungs taper towards the feet: head and feet may be swapped",
}


class Outlier(NamedTuple):
    """A reason why a scan is unusual; `kind` groups equal reasons."""

    kind: str
    reason: str


def is_chest_wide(survey: ScanSurvey) -> bool:
    """Whether a scan is as wide as a chest; smaller ones are parts, such as cubes."""
    if survey.shape is None:
        return False
    depth_mm, width_mm = sorted(np.multiply(survey.shape, survey.spacing_mm)[:2])
    return bool(depth_mm >= CHEST_DEPTH_MM and width_mm >= CHEST_WIDTH_MM)


def list_outliers(surveys: Sequence[ScanSurvey]) -> dict[str, list[Outlier]]:
    """Return the outliers of each unusual case, by its name, in the order of the manifest.

    Scans that cannot be read are errors of the manifest's check and no outliers.
    """
    spacings = [survey.spacing_mm for survey in surveys if survey.shape is not None]
    median_mm = np.median(spacings, axis=0) if spacings else np.ones(3)
    listed = {
        survey.case.case: [
            *_intensities(survey),
            *_extent(survey),
            *_spacing(survey, median_mm.tolist()),
            *_lungs(survey),
            *_nodules(survey),
        ]
        for survey in surveys
        if survey.shape is not None
    }
    return {case: outliers for case, outliers in listed.items() if outliers}


def _intensities(survey: ScanSurvey) -> Iterator[Outlier]:
    for column, issue in survey.checked.issues:
        if column == "image" and not survey.is_hu:
            yield Outlier("not HU", issue.message)
        elif column == "image" and not survey.lacking:
            yield Outlier("doubtful HU", issue.message)


def _extent(survey: ScanSurvey) -> Iterator[Outlier]:
    assert survey.shape is not None
    slices, edge_mm = survey.shape[2], survey.spacing_mm[2]
    if survey.lacking:
        yield Outlier("no chest", "no lungs were found: abdomen, head, or another part of the body")
    elif is_chest_wide(survey) and (slices < FEW_SLICES or slices * edge_mm < SHORT_MM):
        yield Outlier("few slices", f"{slices} axial slices, {slices * edge_mm:.0f} mm in all")


def _spacing(survey: ScanSurvey, median_mm: Sequence[float]) -> Iterator[Outlier]:
    edges = " x ".join(f"{mm:.3g}" for mm in survey.spacing_mm)
    if max(survey.spacing_mm) > THICK_MM:
        yield Outlier("large voxels", f"voxels of {edges} mm: small nodules fall between them")
        return
    ratios = np.divide(survey.spacing_mm, median_mm)
    if ratios.max() > RATIO or ratios.min() < 1 / RATIO:
        median = " x ".join(f"{mm:.3g}" for mm in median_mm)
        yield Outlier("other voxels", f"voxels of {edges} mm, the cohort's median is {median} mm")


def _lungs(survey: ScanSurvey) -> Iterator[Outlier]:
    lungs = survey.lungs
    if lungs is None:
        return
    if lungs.cut:
        faces = " and ".join([", ".join(lungs.cut[:-1]), lungs.cut[-1]][len(lungs.cut) < 2 :])
        yield Outlier("cut lungs", f"the lungs reach the border of the scan: {faces}")
    elif is_chest_wide(survey) and not SMALL_ML <= lungs.volume_ml <= LARGE_ML:
        yield Outlier("lung volume", f"the lungs hold {lungs.volume_ml:.0f} ml")
    for axis in AXES:
        if lungs.sides[axis] == "reversed":
            yield Outlier(f"flipped {axis}", REVERSED[axis])


def _nodules(survey: ScanSurvey) -> Iterator[Outlier]:
    outside = sum(
        nodule.place is not None
        and not all(-OUTSIDE <= share <= 1 + OUTSIDE for share in nodule.place)
        for nodule in survey.nodules
    )
    if outside:
        yield Outlier(
            "nodule outside",
            f"{outside} of {len(survey.nodules)} nodules lie outside the lungs: is the mask "
            f"another scan's, or flipped?",
        )
