"""The importer `dicom`: a tree as a hospital has it, one series a study, under pseudonyms."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from semilung.data.cache.prepared_grid import straightened
from semilung.data.importers.dicom.series_list import listed_series
from semilung.data.importers.dicom.series_pick import Candidate, by_study, picked
from semilung.data.importers.dicom.series_table import series_table
from semilung.data.importers.dicom.tree import TreeSeries, dicom_tree
from semilung.data.importers.importer import importers
from semilung.data.io.grid import SHEAR_DEGREES, shear_degrees
from semilung.data.io.volume import Volume, write_volume
from semilung.data.manifest.cases import Case
from semilung.data.manifest.pseudonyms import Pseudonyms, read_key
from semilung.files import is_there
from semilung.suggestions import require_choice
from semilung.types import UserError

AIR_HU = -1024
_SHOWN = 5


@importers.register("dicom")
class DicomFolders:
    """DICOM of many patients, in any tree: series in one folder or apart, in any order.

    Of each study the thinnest axial series with a soft or lung kernel is imported, see `picked`;
    `semilung data scan` lists them all. Cases are unlabelled (healthy with `--role healthy`). They
    and their patients are named by pseudonyms; images stay where they are, under names that may
    identify a patient, unless they are copied.

    Args:
        kernel: `soft` or `lung`; both by default.
        unclear: What to do where several series of a study are equally thin: take the `first`, a
            soft one before a lung one, or `list` them and import nothing.
        every_series: Import all series that can be used, instead of one a study.
        series: CSV table with the columns `folder` and `series` of those to import, such as lines
            of `semilung data scan --csv`, instead.
        copy: Convert the images to NIfTI, in `images/` under pseudonyms.
        straighten: Resample series of a tilted gantry onto a box, in `images/`.
        key: File of the pseudonyms' key; by default `OUT.key`, next to the folder OUT. It is made
            where it is missing.

    Raises:
        ValueError: An option is out of range, or two contradict each other.
    """

    def __init__(
        self,
        *,
        kernel: str = "",
        unclear: str = "first",
        every_series: bool = False,
        series: str = "",
        copy: bool = False,
        straighten: bool = False,
        key: str = "",
    ) -> None:
        if kernel:
            require_choice("kernel", kernel, ("soft", "lung"))
        require_choice("unclear", unclear, ("first", "list"))
        if series and (every_series or kernel):
            raise ValueError("series names those to import: leave every_series and kernel out")
        self._kernel, self._unclear, self._every_series = kernel, unclear, every_series
        self._series = Path(series) if series else None
        self._copy, self._straighten = copy, straighten
        self._key = Path(key) if key else None

    def cases(self, source: Path, out: Path) -> Sequence[Case]:
        """Return a case for each series that is imported; errors as `Importer.cases`."""
        series = self._chosen(require_tree(source), source)
        names = pseudonyms(self._key, out)
        return [self._case(one, names, out) for one in series]

    def _chosen(self, series: Sequence[TreeSeries], source: Path) -> list[TreeSeries]:
        rows = series_table(series, straighten=self._straighten)
        candidates = [
            Candidate(one, row)
            for one, row in zip(series, rows, strict=True)
            if row.kind == "CT" and not row.problem
        ]
        problems = [row.problem for row in rows if row.problem]
        if not candidates:
            raise UserError(
                problems[0]
                if problems
                else f"{source}: there is no CT volume in it, only "
                f"{', '.join(sorted({row.kind for row in rows}))}"
            )
        if self._series is not None:
            return listed_series(self._series, candidates, rows)
        warn_of("series cannot be imported", problems)
        if self._every_series:
            return [one.series for one in candidates]
        return self._picked(candidates, source)

    def _picked(self, candidates: Sequence[Candidate], source: Path) -> list[TreeSeries]:
        chosen, unclear, without = [], [], []
        for study in by_study(candidates):
            one, equal = picked(study, self._kernel)
            if one is None:
                without.append(f"study {study[0].row.study} in {study[0].series.folder}")
                continue
            chosen.append(one.series)
            if len(equal) > 1:
                unclear.append(", ".join(str(other.series.path) for other in equal))
        if unclear and self._unclear == "list":
            listed = "".join(f"\n  {line}" for line in unclear)
            raise UserError(
                f"{len(unclear)} studies in {source} have several series that are equally thin. "
                f"Keep one of each in the table of `semilung data scan {source} --csv FILE`, and "
                f"import with series=FILE:{listed}"
            )
        warn_of(
            "studies have several series that are equally thin, of which the first is imported "
            "(unclear=list stops instead)",
            unclear,
        )
        warn_of("studies have no series with such a kernel", without)
        if not chosen:
            raise UserError(
                f"{source}: no study has an axial series of a soft, lung or unknown kernel (kernel="
                f"{self._kernel or 'any'}); choose with every_series=true, or with series=FILE"
            )
        return chosen

    def _case(self, one: TreeSeries, names: Pseudonyms, out: Path) -> Case:
        patient, case = case_names(one, names)
        is_tilted = shear_degrees(one.grid.affine) > SHEAR_DEGREES
        image = one.path
        if self._copy or is_tilted:
            image = copied_image(one, case, out, straighten=self._straighten)
        return Case(case=case, patient=patient, image=image, role="unlabelled")


def copied_image(one: TreeSeries, case: str, out: Path, *, straighten: bool = False) -> Path:
    """Write a series as a NIfTI, `images/<case>.nii.gz`; return its path."""
    image = out / "images" / f"{case}.nii.gz"
    assert one.opened is not None
    volume = Volume(one.opened.read(), one.grid.affine)
    if straighten:
        volume = straightened(volume, fill=AIR_HU)
    write_volume(image, volume.data, volume.affine)
    return image


def require_tree(source: Path) -> list[TreeSeries]:
    """Return the series below a folder.

    Raises:
        UserError: It is a file, or holds no DICOM that can be read.

    Warns:
        UserWarning: Folders in which nothing can be read.
    """
    if not source.is_dir():
        raise UserError(
            f"{source} is {'a file' if is_there(source) else 'not there'}; give the folder that "
            f"holds the DICOM series"
        )
    tree = dicom_tree(source)
    if not tree.series:
        raise tree.errors[0] if tree.errors else UserError(f"{source} holds no DICOM file")
    warn_of("folders cannot be read", [str(error) for error in tree.errors])
    return tree.series


def pseudonyms(key: Path | None, out: Path) -> Pseudonyms:
    """Return the names of a user's key, by default `OUT.key` next to `out`."""
    whole = out.absolute()
    return Pseudonyms(read_key(key or whole.with_name(f"{whole.name}.key"), out))


def case_names(one: TreeSeries, names: Pseudonyms) -> tuple[str, str]:
    """Return the pseudonyms of a series' patient and case."""
    patient = names.patient(one.patient_key)
    identity = one.series_uid or str(one.path.absolute())
    return patient, names.case(patient, f"{identity}\0{one.header.get('ConvolutionKernel')}")


def warn_of(trait: str, lines: Sequence[str]) -> None:
    """Warn of several things of one kind in one message, which shows the first of them.

    Args:
        trait: What they are, in the plural, such as `series cannot be imported`.
        lines: One each; none for no warning.
    """
    if lines:
        more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        warnings.warn(f"{len(lines)} {trait}: {'; '.join(lines[:_SHOWN])}{more}", stacklevel=3)
