"""Findings of several readers: which readings are of one nodule, and what they agree on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csgraph

from semilung.data.content.components import connected_components
from semilung.data.importers.lidc.outlines import Voxels
from semilung.data.importers.lidc.reader_xml import Reading
from semilung.data.io.grid import Grid, Shape, ball_diameter_mm

SMALL_MM = 3.0
"""Diameter from which on the collection's nodules are outlined; smaller ones are points."""

NO_VOXELS: Voxels = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class OutlinedReading:
    """A reading of a nodule with the voxels that its outlines enclose, one or more."""

    reading: Reading
    voxels: Voxels


@dataclass(frozen=True, eq=False)
class Finding:
    """One nodule in the eyes of one or more readers.

    Attributes:
        readings: Readings of it, from the smallest to the largest.
        agreed: Voxels of the consensus, a connected region; none where too few readers agree.
        disputed: Voxels that are neither nodule nor background: without a consensus all that a
            reader outlined, with one its fragments.
    """

    readings: tuple[OutlinedReading, ...]
    agreed: Voxels
    disputed: Voxels

    @property
    def voxels(self) -> Voxels:
        """Voxels that place and measure it: of the consensus, or of any reader without one."""
        return self.agreed if self.agreed.size else self.disputed

    @property
    def by_reader(self) -> dict[int, OutlinedReading]:
        """The reading of each reader, the largest where one divided the nodule into several."""
        return {one.reading.reader: one for one in self.readings}


def findings_of(
    readings: Sequence[OutlinedReading], grid: Grid, *, agreement: float, min_readers: int
) -> list[Finding]:
    """Group readings into nodules, and find the consensus on each.

    Readings are of one nodule if their voxels overlap, directly or through others: only there can
    voxels agree. A voxel belongs to the consensus if at least the share `agreement` of the readers
    of the group have it inside. What fewer have inside is background, as it is in published masks
    of the collection: to ignore it would excuse every error at a nodule's border.

    Each connected region (26 neighbours) of the consensus is a nodule, so that two which one reader
    outlined as one are two; but regions below 3 mm next to a larger one are fragments of it, and
    disputed. Without a consensus, all that the group has inside is one disputed finding.

    Args:
        readings: Of one scan, all readers.
        grid: Of the scan.
        agreement: In (0, 1].
        min_readers: What fewer readers outlined has no consensus.

    Returns:
        Findings, those with a consensus first, each kind in the order of their first voxels.
    """
    findings = [
        finding
        for group in _groups(readings)
        for finding in _findings(group, grid, agreement, min_readers)
    ]
    return sorted(findings, key=lambda one: (not one.agreed.size, int(one.voxels[0])))


def _findings(
    group: Sequence[OutlinedReading], grid: Grid, agreement: float, min_readers: int
) -> list[Finding]:
    """Return the findings of readings that overlap; one where enough readers agree on none."""
    group = sorted(group, key=_size)
    voxels, votes, readers = _votes(group)
    regions = _regions(voxels[votes >= agreement * readers], grid.shape)
    large = [one for one in regions if one is regions[0] or diameter_mm(one, grid) >= SMALL_MM]
    findings = []
    for region in large:
        readings = tuple(one for one in group if np.isin(one.voxels, region).any())
        is_minority = len({one.reading.reader for one in readings}) < min_readers
        parts = (NO_VOXELS, region) if is_minority else (region, NO_VOXELS)
        findings.append(Finding(readings, *parts))
    nodules = [one for one in findings if one.agreed.size]
    if not nodules:
        return [Finding(tuple(group), NO_VOXELS, voxels)]
    others = [one for one in group if not any(one in finding.readings for finding in findings)]
    fragments = [NO_VOXELS, *regions[len(large) :]]
    first = nodules[0]
    findings[findings.index(first)] = Finding(
        tuple(sorted((*first.readings, *others), key=_size)),
        first.agreed,
        np.sort(np.concatenate(fragments)),
    )
    return findings


def diameter_mm(voxels: Voxels, grid: Grid) -> float:
    """Return the diameter of the ball of equal volume, rounded to 0.01 mm."""
    voxel_mm3 = abs(float(np.linalg.det(grid.affine[:3, :3])))
    return round(float(ball_diameter_mm(voxels.size, voxel_mm3)), 2)


def _size(one: OutlinedReading) -> tuple[int, int]:
    return (one.voxels.size, -one.reading.reader)


def _groups(readings: Sequence[OutlinedReading]) -> Iterator[list[OutlinedReading]]:
    """Yield the readings that overlap, directly or through others."""
    if not readings:
        return
    voxels = np.concatenate([one.voxels for one in readings])
    numbers = np.repeat(np.arange(len(readings)), [one.voxels.size for one in readings])
    order = np.argsort(voxels, kind="stable")
    shared = np.flatnonzero(np.diff(voxels[order]) == 0)
    first, second = numbers[order][shared], numbers[order][shared + 1]
    graph = coo_array((np.ones(shared.size), (first, second)), shape=(len(readings), len(readings)))
    count, labels = csgraph.connected_components(graph, directed=False)
    for label in range(count):
        yield [one for one, of in zip(readings, labels, strict=True) if of == label]


def _votes(group: Sequence[OutlinedReading]) -> tuple[Voxels, Voxels, int]:
    """Return the voxels inside of any reader's outlines, the readers of each, and of the group."""
    readers = {one.reading.reader for one in group}
    each = [
        np.unique(np.concatenate([one.voxels for one in group if one.reading.reader == reader]))
        for reader in readers
    ]
    voxels, votes = np.unique(np.concatenate(each), return_counts=True)
    return voxels, votes, len(readers)


def _regions(voxels: Voxels, shape: Shape) -> list[Voxels]:
    """Divide voxels into connected regions, the largest first."""
    if not voxels.size:
        return []
    places = np.array(np.unravel_index(voxels, shape))
    low = places.min(1)
    box = np.zeros(places.max(1) - low + 1, bool)
    box[*(places - low[:, None])] = True
    labels, count = connected_components(box)
    regions = [voxels[labels[*(places - low[:, None])] == n] for n in range(1, count + 1)]
    return sorted(regions, key=len, reverse=True)
