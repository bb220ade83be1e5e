"""Masks of findings."""

import numpy as np
from lidc_files import outlined

from semilung.data.importers.lidc.finding_masks import consensus_mask, reader_mask
from semilung.data.importers.lidc.reader_consensus import OutlinedReading, findings_of
from semilung.data.io.grid import Grid

SHAPE = (10, 2, 2)
GRID = Grid(SHAPE, np.eye(4))


def drawn(reader, columns):
    mask = np.zeros(SHAPE, bool)
    mask[columns] = True
    return OutlinedReading(outlined(reader), np.flatnonzero(mask))


READINGS = [
    drawn(1, slice(0, 1)),
    drawn(1, slice(3, 5)),
    drawn(2, slice(4, 6)),
    drawn(3, slice(4, 6)),
    drawn(1, slice(8, 10)),
    drawn(3, slice(8, 10)),
]
FINDINGS = findings_of(READINGS, GRID, agreement=0.5, min_readers=2)


def test_consensus_mask_numbers_nodules_and_ignores_what_too_few_outlined():
    mask = consensus_mask(FINDINGS, SHAPE)
    assert mask.dtype == np.uint8
    assert mask[:, 0, 0].tolist() == [255, 0, 0, 0, 1, 1, 0, 0, 2, 2]
    assert (mask == mask[:, :1, :1]).all()


def test_reader_mask_has_the_numbers_of_the_findings():
    assert reader_mask(FINDINGS, 1, SHAPE)[:, 0, 0].tolist() == [3, 0, 0, 1, 1, 0, 0, 0, 2, 2]
    assert reader_mask(FINDINGS, 2, SHAPE)[:, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0]
    assert not reader_mask(FINDINGS, 4, SHAPE).any()


def test_reader_mask_of_findings_that_a_reader_outlined_as_one_is_divided_by_the_consensus():
    big = (12, 4, 4)
    spans = [(1, 0, 12), (2, 0, 4), (2, 7, 12), (3, 0, 4), (3, 7, 12)]
    readings = []
    for reader, start, stop in spans:
        mask = np.zeros(big, bool)
        mask[start:stop] = True
        readings.append(OutlinedReading(outlined(reader), np.flatnonzero(mask)))
    findings = findings_of(readings, Grid(big, np.eye(4)), agreement=0.5, min_readers=2)
    columns = [reader_mask(findings, reader, big)[:, 0, 0].tolist() for reader in (1, 2)]
    assert columns == [[1] * 7 + [2] * 5, [1] * 4 + [0] * 3 + [2] * 5]
