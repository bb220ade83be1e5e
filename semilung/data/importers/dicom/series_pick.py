"""Choice of one series a study: the thinnest one that was reconstructed for soft tissue or lung."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from semilung.data.importers.dicom.series_table import SeriesRow
from semilung.data.importers.dicom.tree import TreeSeries
from semilung.data.io.dicom.series_choice import image_types

DERIVED = {"MIP", "MINIP", "AVERAGE", "MPR", "REFORMATTED"}
"""Words of ImageType of projections and reformats, which are no acquired slices."""

MIN_EXTENT = 0.5
"""Series that cover less than this share of the study's longest are parts of it."""

EQUAL_MM = 0.05
"""Slices whose thickness differs by less are equally thick."""


@dataclass(frozen=True)
class Candidate:
    """A series that can be imported, and its row."""

    series: TreeSeries
    row: SeriesRow

    @property
    def thickness_mm(self) -> float:
        """Thickness of the slices, or their distance where there are gaps between them."""
        return max(self.row.thickness_mm or 0, self.row.step_mm or 0)

    @property
    def extent_mm(self) -> float:
        """Length that the slices cover."""
        return (self.row.step_mm or 0) * self.row.slices

    @property
    def is_axial(self) -> bool:
        """Whether the slices are acquired ones across the patient's axis."""
        step = self.series.grid.affine[:3, 2]
        types = set(image_types(self.series.header))
        return bool(np.argmax(np.abs(step)) == 2) and not types & DERIVED


def picked(
    candidates: Sequence[Candidate], kernel: str
) -> tuple[Candidate | None, list[Candidate]]:
    """Return the series of a study to import, and all that are as good.

    Reformats and projections, parts of the study, and bone kernels are passed over. Known kernels
    come before unknown ones, then the thinnest slices. Of equally thin series a soft kernel comes
    first, then the lowest number.

    Args:
        candidates: Series of one study.
        kernel: `soft`, `lung`, or empty for both.

    Returns:
        None where no series is left.
    """
    longest = max((one.extent_mm for one in candidates if one.is_axial), default=0)
    left = [
        one
        for one in candidates
        if one.is_axial
        and one.extent_mm >= MIN_EXTENT * longest
        and one.row.kernel_kind in ((kernel,) if kernel else ("soft", "lung", "unknown"))
    ]
    named = [one for one in left if one.row.kernel_kind != "unknown"] or left
    thinnest = min((one.thickness_mm for one in named), default=0)
    equal = [one for one in named if one.thickness_mm <= thinnest + EQUAL_MM]
    equal.sort(key=lambda one: (one.row.kernel_kind != "soft", _natural(one.row.series)))
    return (equal[0] if equal else None), equal


def by_study(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """Yield the candidates of each study, in the order of the tree."""
    studies: dict[int, list[Candidate]] = {}
    for one in candidates:
        studies.setdefault(one.row.study, []).append(one)
    yield from studies.values()


def _natural(label: str) -> list[int]:
    return [int(part) for part in label.split(".")]
