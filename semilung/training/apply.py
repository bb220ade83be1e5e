"""Using finished runs: the cases that they are judged on, and scans that they segment."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from semilung.data import Case, Volume, read_manifest, write_volume
from semilung.data.data_config import PREPARING
from semilung.files import DiskFullError
from semilung.inference import predict_scan
from semilung.inference.scan_progress import ScanProgress
from semilung.training.error_messages import told_of_memory
from semilung.training.outputs import output, output_names
from semilung.training.pseudo_labels import (
    PSEUDO,
    confident_labels,
    require_pseudo_labels,
    write_manifest,
)
from semilung.training.run import RunFolder
from semilung.training.training_config import TrainConfig
from semilung.types import UserError


def split_cases(
    runs: Sequence[Path],
    configs: Sequence[TrainConfig],
    split: str,
    *,
    manifest: Path | None = None,
) -> list[Case]:
    """Cases of the first run's split that can be judged on, as the run drew them.

    Args:
        runs: Run folders.
        configs: Their configs.
        split: `train`, `val` or `test`.
        manifest: Where the first run's manifest is now, if it has moved.

    Raises:
        UserError: The manifest lacks a case that the run has split, the split is empty, or another
            of the runs has trained on a patient of it.
    """
    run = runs[0]
    splits = RunFolder(run).read_splits()
    named = manifest or configs[0].data.manifest
    cases = {case.case: case for case in read_manifest(str(named))}
    lost = sorted(set(splits) - set(cases))
    if lost:
        msg = f"{named} lacks cases that {run} was split by: {', '.join(lost[:5])}"
        raise UserError(msg)
    chosen = [cases[name] for name, kept in splits.items() if kept["split"] == split]
    _require_unseen(chosen, runs[1:], configs[1:])
    return _judged(chosen, f"the {split} split of {run}")


def unseen_cases(
    runs: Sequence[Path], configs: Sequence[TrainConfig], manifest: Path
) -> list[Case]:
    """All cases of another manifest that can be judged on.

    Raises:
        UserError: There is none, or a run has trained on a patient of them.
    """
    cases = read_manifest(str(manifest))
    _require_unseen(cases, runs, configs)
    return _judged(cases, str(manifest))


def predict_files(
    models: Sequence[nn.Module],
    configs: Sequence[TrainConfig],
    scans: Sequence[Path],
    out: Path,
    *,
    threshold: float | None = None,
    probability: bool = False,
    confident: float | None = None,
    overwrite: bool = False,
    series: str | None = None,
    progress: bool = False,
) -> list[Path]:
    """Write `<scan>_nodules.nii.gz` into `out` for every scan, in the scan's own geometry.

    Args:
        models: The runs' predictors; their probabilities are averaged.
        configs: The runs' configs, which must prepare scans alike.
        scans: Files of CT volumes; one that fails, at whatever step, does not stop the others.
        out: Folder of the masks.
        threshold: Foreground above this probability; the first run's by default.
        probability: Write `<scan>_probability.nii.gz` too.
        confident: Write `<scan>_pseudo.nii.gz` too, the mask with voxels below this confidence set
            to 255, and a `manifest.csv` by which another run can train on them.
        overwrite: Whether masks that exist are written anew.
        series: Which series of each DICOM folder, by its number; None where it is evident.
        progress: Show scans and windows on standard error.

    Returns:
        The files written.

    Raises:
        UserError: Before anything is predicted: runs that prepare scans differently, two scans of
            one name, a name that is too long, an existing mask or manifest, a folder that cannot be
            written, a confidence out of range. At the end: scans that could not be segmented.
    """
    config = alike(configs)
    inference = config.inference
    if threshold is not None:
        inference = replace(inference, threshold=threshold)
    kinds = ["nodules", *(["probability"] if probability else [])]
    kinds += [] if confident is None else [PSEUDO]
    names = output_names(scans, out, kinds, overwrite=overwrite)
    if confident is not None:
        require_pseudo_labels(out, confident, overwrite=overwrite)
    done: dict[str, Path] = {}
    failed: list[str] = []
    with ScanProgress(len(names), shown=progress) as shown:
        for scan, name in names.items():
            shown.begin(name)
            try:
                with told_of_memory("a smaller inference.window or inference.batch_size"):
                    mask, found = predict_scan(
                        models,
                        scan,
                        config.data,
                        inference,
                        series=series,
                        progress=shown.windows,
                    )
                    volumes = {"nodules": mask, "probability": found}
                    if confident is not None:
                        volumes[PSEUDO] = confident_labels(mask, found, confident)
                    _write({output(out, name, kind): volumes[kind] for kind in kinds}, scan)
            except Exception as error:  # an error of one scan is none of the others'
                failed.append(_reason(scan, error))
                if isinstance(error, DiskFullError):
                    break
            else:
                done[name] = scan
    written = [output(out, name, kind) for name in done for kind in kinds]
    if confident is not None and done:
        written.append(write_manifest(out, done))
    if failed:
        raise _summary(failed, tried=len(done) + len(failed), scans=len(names), out=out)
    return written


def _write(volumes: Mapping[Path, Volume], scan: Path) -> None:
    """Write a scan's files, the first one, its mask, last: if it exists, all of them do."""
    for path, volume in reversed(list(volumes.items())):
        write_volume(path, volume.data, volume.affine, like=scan)


def _summary(failed: Sequence[str], *, tried: int, scans: int, out: Path) -> UserError:
    """The scans that failed, a line each, and what became of the others."""
    lines = [f"{len(failed)} of {scans} scans could not be segmented:", *failed]
    if tried < scans:
        lines.append(f"{scans - tried} were not tried")
    if tried > len(failed):
        lines.append(f"The others are in {out}")
    return UserError("\n".join(lines))


def _reason(scan: Path, error: Exception) -> str:
    """Why a scan failed, in one line that names it."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    line = " ".join(text.split())
    return line if str(scan) in line else f"{scan}: {line}"


def alike(configs: Sequence[TrainConfig]) -> TrainConfig:
    """The first of configs that prepare scans alike.

    Raises:
        UserError: They do not, so their predictions cannot be averaged.
    """
    first = configs[0]
    for other in configs[1:]:
        for name in ("window_hu", *(name for name in PREPARING if name != "cache")):
            mine, theirs = getattr(first.data, name), getattr(other.data, name)
            if mine != theirs:
                msg = (
                    f"runs can be averaged where they prepare scans alike, but data.{name} is "
                    f"{mine} in one and {theirs} in another"
                )
                raise UserError(msg)
    return first


def _require_unseen(
    cases: Sequence[Case], runs: Sequence[Path], configs: Sequence[TrainConfig]
) -> None:
    """Refuse cases of which a run has trained on the case, or on another of its patient's."""
    for run, config in zip(runs, configs, strict=True):
        splits = RunFolder(run).read_splits()
        trained = {name for name, kept in splits.items() if kept["split"] == "train"}
        theirs = Path(str(config.data.manifest))
        if not theirs.exists():
            warnings.warn(
                f"{theirs}, by which {run} was split, is gone: cases were checked for leaks into "
                f"training by their names, but not their patients",
                stacklevel=2,
            )
        known = read_manifest(theirs) if theirs.exists() else []
        patients = {case.patient for case in known if case.case in trained}
        seen = [case.case for case in cases if case.case in trained or case.patient in patients]
        if seen:
            msg = f"{run} was trained on {', '.join(seen[:5])} or their patients; judge on others"
            raise UserError(msg)


def _judged(cases: Sequence[Case], where: str) -> list[Case]:
    judged = [case for case in cases if case.voxels_known]
    if not judged:
        msg = f"{where} holds no labelled and no healthy case to judge on"
        raise UserError(msg)
    return judged
