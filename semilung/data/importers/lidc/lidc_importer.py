"""The importer `lidc`: series with their readings become cases with masks and nodules."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from semilung.csv_tables import write_csv
from semilung.data.importers.dicom.tree import TreeSeries
from semilung.data.importers.importer import importers
from semilung.data.importers.lidc.finding_masks import consensus_mask, reader_mask
from semilung.data.importers.lidc.finding_rows import mark_rows, nodule_rows, reader_rows
from semilung.data.importers.lidc.lidc_series import case_names, ct_series
from semilung.data.importers.lidc.reader_consensus import Finding, findings_of
from semilung.data.importers.lidc.reader_xml import ScanReadings
from semilung.data.importers.lidc.scan_readings import (
    readings_below,
    scan_on_slices,
    warn_of_unmatched,
)
from semilung.data.io.grid import Grid
from semilung.data.io.volume import write_volume
from semilung.data.manifest.cases import Case
from semilung.types import IGNORE, UserError

READERS = "readers.csv"
"""Table of every reader's findings, next to the manifest."""


@importers.register("lidc")
class LidcIdri:
    """LIDC-IDRI: any tree of DICOM series and the readers' XML files.

    A series with readings is labelled. Its mask holds each nodule's consensus (see `findings_of`)
    as a label from 1; 255 where too few readers outlined one, and in fragments of a consensus below
    3 mm; and 0 where fewer of a nodule's readers agree. `nodules.csv` has
    the nodules by the same numbers, with the readers' mean ratings, and as ignored findings what
    too few readers outlined, nodules below 3 mm, and non-nodules. A series without readings is
    unlabelled.

    Images stay where they are; of a folder with several series, the manifest names one by its
    number (`folder#3`). Masks are in `masks/`. Patients are named by the collection's pseudonym
    (LIDC-IDRI-0003), or numbered.

    Args:
        agreement: Share of the readers of a nodule who must have a voxel inside, in (0, 1].
        min_readers: Readers who must have outlined a nodule, 1 or more.
        every_reader: Also write each reader's mask, `masks/<case>_reader<n>.nii.gz`, in which a
            nodule has the number of its row, and `readers.csv` with each reader's ratings.

    Raises:
        ValueError: An option is out of range.

    Source: Armato et al., The Lung Image Database Consortium (LIDC) and Image Database Resource
    Initiative (IDRI): a completed reference database of lung nodules on CT scans, Medical Physics
    2011.
    """

    def __init__(
        self, *, agreement: float = 0.5, min_readers: int = 2, every_reader: bool = False
    ) -> None:
        if not 0 < agreement <= 1:
            raise ValueError(f"agreement is a share above 0 and up to 1, got {agreement}")
        if min_readers < 1:
            raise ValueError(f"min_readers is 1 or more, got {min_readers}")
        self._agreement = agreement
        self._min_readers = min_readers
        self._every_reader = every_reader

    def cases(self, source: Path, out: Path) -> Sequence[Case]:
        """Return a case for each CT series; errors as `Importer.cases`."""
        if not source.is_dir():
            raise UserError(
                f"{source} is a file; give the folder that holds the DICOM series and XML files"
            )
        readings = readings_below(source)
        series = ct_series(source)
        warn_of_unmatched(readings, series)
        cases, rows = [], []
        for one, (name, patient) in zip(series, case_names(series), strict=True):
            case = Case(case=name, patient=patient, image=one.path, role="unlabelled")
            _remove_reader_masks(out, name)
            if one.series_uid in readings:
                case, case_rows = self._labelled(case, one, readings[one.series_uid], out)
                rows += case_rows
            cases.append(case)
        if rows:
            write_csv(out / READERS, pd.DataFrame(rows))
        else:
            (out / READERS).unlink(missing_ok=True)
        return cases

    def _labelled(
        self, case: Case, series: TreeSeries, scan: ScanReadings, out: Path
    ) -> tuple[Case, list[dict[str, object]]]:
        """Write the masks of a case; return it labelled, and its rows of `readers.csv`."""
        grid = series.grid
        on_slices = scan_on_slices(series, scan)
        if on_slices is None:
            return case, []
        findings = findings_of(
            on_slices.nodules, grid, agreement=self._agreement, min_readers=self._min_readers
        )
        if len(findings) >= IGNORE:
            raise UserError(
                f"{scan.path}: the readers outlined {len(findings)} nodules, and a mask has "
                f"{IGNORE - 1} labels; is it a reading of one scan?"
            )
        mask = out / "masks" / f"{case.case}.nii.gz"
        write_volume(mask, consensus_mask(findings, grid.shape), grid.affine)
        rows = []
        if self._every_reader:
            _write_reader_masks(mask, findings, scan.readers, grid)
            rows = reader_rows(case.case, findings, grid)
        marks = mark_rows(on_slices.marks, series.slices, grid, findings)
        has_consensus = any(finding.agreed.size for finding in findings)
        labelled = replace(
            case,
            role="labelled",
            mask=mask,
            bag_label=1 if has_consensus else None if on_slices.has_nodule else 0,
            nodules=(*nodule_rows(findings, grid), *marks),
        )
        return labelled, rows


def _remove_reader_masks(out: Path, case: str) -> None:
    """Remove the readers' masks of an earlier import, which may have had other options."""
    for path in (out / "masks").glob(f"{glob.escape(case)}_reader*.nii.gz"):
        path.unlink()


def _write_reader_masks(mask: Path, findings: Sequence[Finding], readers: int, grid: Grid) -> None:
    for reader in range(1, readers + 1):
        path = mask.with_name(mask.name.replace(".nii.gz", f"_reader{reader}.nii.gz"))
        write_volume(path, reader_mask(findings, reader, grid.shape), grid.affine)
