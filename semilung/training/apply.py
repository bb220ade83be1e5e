"""Using finished runs: the cases that they are judged on, and scans that they segment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from semilung.data import Case, read_manifest, write_volume
from semilung.inference import predict_scan
from semilung.training.config import TrainConfig
from semilung.training.run import RunFolder
from semilung.types import UserError


def split_cases(runs: Sequence[Path], config: TrainConfig, split: str) -> list[Case]:
    """Cases of the first run's validation or test split that have a reference, as it drew them.

    Raises:
        UserError: The manifest lacks a case that the run has split, the split is empty, or another
            of the runs has seen one of its cases in training.
    """
    run, *others = runs
    splits = _splits(run)
    cases = {case.case: case for case in read_manifest(manifest_of(config))}
    lost = sorted(set(splits) - set(cases))
    if lost:
        msg = f"{config.data.manifest} has lost cases that {run} was split by: {', '.join(lost)}"
        raise UserError(msg)
    chosen = [cases[name] for name, where in splits.items() if where == split]
    for other in others:
        theirs = _splits(other)
        seen = [case.case for case in chosen if theirs.get(case.case) == "train"]
        if seen:
            msg = f"{other} was trained on {split} cases of {run}: {', '.join(seen)}"
            raise UserError(msg)
    return with_reference(chosen, f"the {split} split of {run}")


def with_reference(cases: Sequence[Case], where: str) -> list[Case]:
    """Those cases that a prediction can be judged on: labelled and healthy ones.

    Raises:
        UserError: There are none.
    """
    judged = [case for case in cases if case.role in ("labelled", "healthy")]
    if not judged:
        msg = f"{where} holds no labelled and no healthy case to judge on"
        raise UserError(msg)
    return judged


def predict_files(
    models: Sequence[nn.Module],
    configs: Sequence[TrainConfig],
    scans: Sequence[Path],
    out: Path,
    *,
    threshold: float | None = None,
    probability: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write `<scan>_nodules.nii.gz` into `out` for every scan, in the scan's own geometry.

    Args:
        models: The runs' predictors; their probabilities are averaged.
        configs: The runs' configs, which must prepare scans alike.
        scans: NIfTI files; one that fails does not stop the others.
        out: Folder of the masks.
        threshold: Foreground from this probability on; the first run's by default.
        probability: Write `<scan>_probability.nii.gz` too.
        overwrite: Whether masks that exist are written anew.

    Returns:
        The files written.

    Raises:
        UserError: Runs that prepare scans differently, two scans of one name, an existing mask, or
            scans that could not be segmented (told at the end, after the others).
    """
    config = _alike(configs)
    inference = config.inference
    if threshold is not None:
        inference = replace(inference, threshold=threshold)
    names = _names(scans, out, overwrite=overwrite)
    written: list[Path] = []
    failed: list[str] = []
    for scan, name in names.items():
        try:
            mask, found = predict_scan(models, scan, config.data, inference)
        except UserError as error:
            failed.append(f"{scan}: {error}")
            continue
        volumes = {f"{name}_nodules.nii.gz": mask}
        if probability:
            volumes[f"{name}_probability.nii.gz"] = found
        for file, volume in volumes.items():
            write_volume(out / file, volume.data, volume.affine)
            written.append(out / file)
    if failed:
        msg = f"{len(failed)} of {len(names)} scans could not be segmented:\n" + "\n".join(failed)
        raise UserError(msg)
    return written


def manifest_of(config: TrainConfig) -> str:
    """The manifest of a run, which its config names."""
    if config.data.manifest is None:
        msg = "the run's config names no manifest"
        raise UserError(msg)
    return config.data.manifest


def _splits(run: Path) -> dict[str, str]:
    splits: dict[str, str] = json.loads(RunFolder(run).splits.read_text(encoding="utf-8"))
    return splits


def _alike(configs: Sequence[TrainConfig]) -> TrainConfig:
    first = configs[0]
    for other in configs[1:]:
        for name in ("spacing_mm", "clip_hu", "window_hu", "crop_to_lungs", "lung_margin_mm"):
            mine, theirs = getattr(first.data, name), getattr(other.data, name)
            if mine != theirs:
                msg = (
                    f"runs can be averaged where they prepare scans alike, but data.{name} is "
                    f"{mine} in one and {theirs} in another"
                )
                raise UserError(msg)
    return first


def _names(scans: Sequence[Path], out: Path, *, overwrite: bool) -> dict[Path, str]:
    names = {scan: scan.name.removesuffix(".gz").removesuffix(".nii") for scan in scans}
    if len(set(names.values())) < len(names):
        msg = f"two scans would be written under one name in {out}: {sorted(names.values())}"
        raise UserError(msg)
    present = [n for n in names.values() if (out / f"{n}_nodules.nii.gz").exists()]
    if present and not overwrite:
        msg = f"{out} has masks of {', '.join(present)} already; add --overwrite to replace them"
        raise UserError(msg)
    return names
