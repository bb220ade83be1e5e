"""Rows of `nodules.csv`: nodules with a consensus, and ignored findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, multimode

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fclusterdata
from scipy.spatial import KDTree

from semilung.data.importers.lidc.outlines import Voxels, present
from semilung.data.importers.lidc.reader_consensus import SMALL_MM, Finding, diameter_mm
from semilung.data.importers.lidc.reader_xml import RATINGS, Reading
from semilung.data.io.grid import Grid
from semilung.data.manifest.nodules import Nodule

CATEGORIES = ("internalStructure", "calcification")
"""Ratings whose numbers name kinds without an order, so that they have no mean."""


def nodule_rows(findings: Sequence[Finding], grid: Grid) -> list[Nodule]:
    """Return a row for each nodule, named by its number; ignored where there is no consensus.

    Centre and diameter (of a ball of equal volume) are those of the consensus, and without one of
    all that a reader outlined. Targets are the readers' ratings and the number of `readers`.
    """
    return [
        Nodule(
            name=str(number),
            centre_mm=_centre(_places_mm(finding.voxels, grid)),
            diameter_mm=diameter_mm(finding.voxels, grid),
            ignored=not finding.agreed.size,
            source="readers",
            targets={
                **mean_ratings([one.reading.ratings for one in finding.by_reader.values()]),
                "readers": str(len(finding.by_reader)),
            },
        )
        for number, finding in enumerate(findings, start=1)
    ]


def reader_rows(case: str, findings: Sequence[Finding], grid: Grid) -> list[dict[str, object]]:
    """Return a row for each finding and reader: who outlined it, how large, and the ratings.

    The number of the finding is its name in `nodules.csv`.
    """
    return [
        {
            "case": case,
            "nodule": number,
            "reader": reader,
            "diameter_mm": diameter_mm(one.voxels, grid),
            **{name: one.reading.ratings.get(name) for name in RATINGS},
        }
        for number, finding in enumerate(findings, start=1)
        for reader, one in sorted(finding.by_reader.items())
    ]


def mean_ratings(readers: Sequence[Mapping[str, int]]) -> dict[str, str]:
    """Return the readers' mean of each rating; of `CATEGORIES` the most frequent one.

    Where several are most frequent, the lowest of them is taken. A rating that no reader gave is
    left out.

    Example:
        >>> mean_ratings([{"malignancy": 3, "calcification": 6}, {"malignancy": 4}])
        {'calcification': '6', 'malignancy': '3.5'}
    """
    ratings = {}
    for name in RATINGS:
        values = [one[name] for one in readers if name in one]
        if values:
            value = min(multimode(values)) if name in CATEGORIES else round(fmean(values), 2)
            ratings[name] = f"{value:g}"
    return ratings


def mark_rows(
    readings: Sequence[Reading],
    slices: Mapping[str, int],
    grid: Grid,
    findings: Sequence[Finding],
) -> list[Nodule]:
    """Return ignored rows, without a diameter, for findings that are marked by a point.

    Marks of one kind within 3 mm of each other are one row. A mark as near to an outlined
    finding is left out: there, what other readers outlined counts.

    Args:
        readings: Of the scan; those of outlined nodules are passed over.
        slices: SOP instance to the index of its slice.
        grid: Of the scan.
        findings: The outlined ones.
    """
    outlined = [one.voxels for finding in findings for one in finding.readings]
    tree = KDTree(_places_mm(np.concatenate(outlined), grid)) if outlined else None
    rows = []
    for kind in ("small", "non-nodule"):
        marks = [
            (_mark_mm(one, slices, grid), one.reader)
            for one in readings
            if one.kind == kind and present(one, slices)
        ]
        if tree is not None:
            marks = [mark for mark in marks if tree.query(mark[0])[0] > SMALL_MM]
        for number, group in enumerate(_near(marks), start=1):
            rows.append(
                Nodule(
                    name=f"{kind}-{number}",
                    centre_mm=_centre(np.stack([place for place, _ in group])),
                    ignored=True,
                    source="readers",
                    targets={"readers": str(len({reader for _, reader in group}))},
                )
            )
    return rows


Mark = tuple[NDArray[np.float64], int]
"""Place in RAS+ mm, and reader."""


def _near(marks: Sequence[Mark]) -> list[list[Mark]]:
    """Group marks that are within `SMALL_MM` of each other, directly or through others."""
    if len(marks) < 2:
        return [[mark] for mark in marks]
    places = np.stack([place for place, _ in marks])
    labels = fclusterdata(places, SMALL_MM, criterion="distance", method="single")
    groups: dict[int, list[Mark]] = {}
    for label, mark in zip(labels.tolist(), marks, strict=True):
        groups.setdefault(label, []).append(mark)
    return list(groups.values())


def _mark_mm(reading: Reading, slices: Mapping[str, int], grid: Grid) -> NDArray[np.float64]:
    voxels = np.concatenate(
        [
            np.insert(outline.points, 2, slices[outline.image_uid], axis=1)
            for outline in present(reading, slices)
        ]
    )
    place: NDArray[np.float64] = grid.affine[:3, :3] @ voxels.mean(0) + grid.affine[:3, 3]
    return place


def _places_mm(voxels: Voxels, grid: Grid) -> NDArray[np.float64]:
    places = np.stack(np.unravel_index(voxels, grid.shape), axis=1)
    millimetres: NDArray[np.float64] = places @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return millimetres


def _centre(places_mm: NDArray[np.float64]) -> tuple[float, float, float]:
    x_mm, y_mm, z_mm = np.round(places_mm.mean(0), 2).tolist()
    return (x_mm, y_mm, z_mm)
