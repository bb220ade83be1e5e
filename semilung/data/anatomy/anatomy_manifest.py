"""Anatomy labels for all cases of a manifest that lack them (`semilung data anatomy`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semilung.csv_tables import write_csv
from semilung.data.anatomy.anatomy_labels import label_anatomy
from semilung.data.anatomy.lungmask_lungs import lungmask_lungs
from semilung.data.content.hounsfield import require_hu
from semilung.data.io.same_grid import same_grid
from semilung.data.io.volume import Volume, files_of, read_grid, read_volume, write_volume
from semilung.data.manifest.cases import MANIFEST, Case, read_manifest
from semilung.data.manifest.table_file import read_table
from semilung.jobs import run_jobs
from semilung.types import UserError

LungMethod: TypeAlias = Literal["classical", "lungmask"]
LungFinder: TypeAlias = Callable[[Volume], NDArray[np.bool_]]


class AnatomyOutcome(NamedTuple):
    """The new manifest, the number of volumes written, and a message for each failed case."""

    manifest: Path
    written: int
    failures: list[str]


def add_anatomy(
    manifest: Path,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    lungs: LungMethod = "classical",
    progress: bool = True,
    processes: int | None = None,
    scheduler: str | None = None,
) -> AnatomyOutcome:
    """Label the anatomy of every case, and write `<name>_anatomy.csv` next to the manifest.

    The new manifest has the same rows and columns; `anatomy` holds paths relative to it. Cases that
    name an anatomy keep it. An existing file on its image's grid and not older than it is kept, so
    an interrupted run can be resumed.

    Args:
        manifest: The manifest; its masks are not read.
        out: Folder for `<case>.nii.gz`; None is `anatomy` next to the manifest.
        overwrite: Redo all anatomy, also of cases that name one (whose file is left alone).
        lungs: `classical`, or `lungmask` for the network of that package, which it downloads.
        progress: Show a progress bar on standard error.
        processes: Number of worker processes; None is one a core, at most 8. 0 uses this process.
        scheduler: Dask cluster on which to work, as in `run_jobs`; None for processes.

    Raises:
        UserError: The manifest is invalid, `lungmask` is not installed, or an output file is
            named in the manifest.
    """
    cases, table = read_manifest(manifest), read_table(manifest, MANIFEST)
    folder = manifest.parent / "anatomy" if out is None else out
    finder = lungmask_lungs() if lungs == "lungmask" else None
    targets = {
        case.case: folder / f"{case.case}.nii.gz"
        for case in cases
        if overwrite or case.anatomy is None
    }
    _require_unnamed(cases, targets)
    jobs = [
        (case.case, (case.image, targets[case.case]))
        for case in cases
        if case.case in targets and (overwrite or not _is_done(case.image, targets[case.case]))
    ]
    failed = run_jobs(
        partial(_write, lungs=finder),
        jobs,
        title="Finding anatomy",
        progress=progress,
        processes=processes if finder is None else 0,  # a network is not pickled
        scheduler=scheduler if finder is None else None,
    )
    previous = table["anatomy"].tolist() if "anatomy" in table else [""] * len(cases)
    table["anatomy"] = [
        _relative(targets[case.case], manifest.parent)
        if case.case in targets and case.case not in failed
        else old
        for case, old in zip(cases, previous, strict=True)
    ]
    written = manifest.with_name(f"{manifest.stem}_anatomy.csv")
    write_csv(written, table)
    return AnatomyOutcome(
        written,
        len(jobs) - len(failed),
        sorted(f"{name}: {reason}" for name, reason in failed.items()),
    )


def _require_unnamed(cases: Sequence[Case], targets: dict[str, Path]) -> None:
    """Raise UserError where an output file is a volume of the manifest."""
    sources = {
        path.resolve() for c in cases for path in (c.image, c.mask, c.anatomy) if path is not None
    }
    for case, target in targets.items():
        if target.resolve() in sources:
            raise UserError(
                f"{target}, where the anatomy of case {case!r} would go, is named in the manifest; "
                "name another folder by --out"
            )


def _is_done(image: Path, target: Path) -> bool:
    """Return whether the target exists on the image's grid and is not older than it."""
    try:
        written_ns = target.stat().st_mtime_ns
        if any(written_ns < file.stat().st_mtime_ns for file in files_of(image)):
            return False
        return same_grid(read_grid(target), read_grid(image))
    except (OSError, UserError):
        return False


def _write(files: tuple[Path, Path], *, lungs: LungFinder | None) -> None:
    image, target = files
    volume = read_volume(image)
    require_hu(volume.data, name=str(image))
    lung_mask = None if lungs is None else lungs(volume)
    write_volume(target, label_anatomy(volume, lungs=lung_mask), volume.affine, like=image)


def _relative(path: Path, root: Path) -> str:
    """Return `path` relative to `root`, with forward slashes."""
    return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()
