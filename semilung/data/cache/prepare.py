"""The prepared cache: every volume is reoriented, cropped, clipped and resampled once."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semilung.data.cache.prepared_case import PreparedCase
from semilung.data.cache.prepared_grid import (
    at_spacing,
    boxed,
    classes_onto,
    image_onto,
    instances_onto,
    straightened,
)
from semilung.data.cache.store import filling, open_entry, write_entry
from semilung.data.content.hounsfield import require_hu
from semilung.data.content.lungs import NO_LUNGS, find_lungs, lung_blocks, lung_box
from semilung.data.content.nodule_instances import nodule_instances
from semilung.data.content.voxel_checks import label_issue, whole_labels
from semilung.data.data_config import DataConfig
from semilung.data.io.grid import Grid, ball_diameter_mm, ball_voxels, contains, voxel_of
from semilung.data.io.volume import Volume, files_of, labels_fit, read_volume, to_ras
from semilung.data.manifest.cases import Case
from semilung.data.manifest.fields import FIELDS
from semilung.data.manifest.nodules import UNMEASURED_MM
from semilung.jobs import run_jobs
from semilung.types import IGNORE, UserError

VERSION = 7
"""Part of every key; increased whenever the same parameters yield another entry."""

FOREGROUND_VOXELS = 256
"""Most voxels of a nodule that sampling draws from, so that large nodules do not dominate."""


def prepare(
    cases: Sequence[Case],
    config: DataConfig,
    *,
    progress: bool = True,
    verify: bool = False,
    processes: int | None = None,
    scheduler: str | None = None,
) -> list[PreparedCase]:
    """Prepare the cases that the cache lacks, in parallel, and return all cases in their order.

    An image is reoriented to RAS+, cropped to the lungs, resampled, clipped and stored as int16.
    Masks are prepared for labelled cases only (those of other roles are never opened), anatomy for
    every case that names it. An entry is keyed by path, size, modification time and parameters of
    its sources, and written atomically, so a killed run loses only the volumes in progress.

    Args:
        cases: Cases to prepare.
        config: Cache folder and parameters.
        progress: Show a progress bar on standard error.
        verify: Also read finished entries and hash their sources; those that differ are redone.
        processes: Number of worker processes; None is one a core, at most 8. 0 uses this process.
        scheduler: Dask cluster on which to work, as in `run_jobs`; None for processes.

    Raises:
        UserError: Cases failed; lists each with its reason.
    """
    prepared = {case.case: _prepared(case, config) for case in cases}
    todo = [p for p in prepared.values() if verify or not all(f.exists() for f in p.files.values())]
    failed: dict[str, str] = {}
    if todo:
        with filling(config.cache_folder()):
            failed = run_jobs(
                partial(_complete, config=config, verify=verify),
                [(item.name, item) for item in todo],
                title="Preparing",
                progress=progress,
                processes=processes,
                scheduler=scheduler,
            )
    open_entry.cache_clear()
    if failed:
        listed = "\n".join(f"  {name}: {reason}" for name, reason in sorted(failed.items()))
        raise UserError(f"{len(failed)} of {len(cases)} cases cannot be prepared:\n{listed}")
    for item in prepared.values():
        _require_nodules_inside(item)
    return [prepared[case.case] for case in cases]


def cached(cases: Sequence[Case], config: DataConfig) -> list[PreparedCase]:
    """Return the cases whose image the cache already holds; nothing is prepared or opened."""
    prepared = (_prepared(case, config) for case in cases)
    return [item for item in prepared if item.files["image"].exists()]


def _prepared(case: Case, config: DataConfig) -> PreparedCase:
    """Return a case with its files in the cache, whether they exist yet or not."""
    box = config.lung_margin_mm if config.crop_to_lungs else None
    parts = [VERSION, *_stamp(case.image), config.spacing_mm, config.clip_hu, box]
    image = _key(parts)
    keys = {"image": image}
    for name, path in case.volumes().items():
        if name != "image":
            # Labels are cropped to the lungs and grid of the image, so they depend on it.
            keys[name] = _key([image, name, *_stamp(path), *_ignored_balls(case, name)])
    root = config.cache_folder()
    files = {name: root / key[:2] / f"{key}.{name}.b2nd" for name, key in keys.items()}
    return PreparedCase(case, files)


def _ignored_balls(case: Case, name: str) -> list[tuple[tuple[float, float, float], float]]:
    """Centre and radius in mm of the ignored findings that are painted into a label map."""
    if FIELDS[name].resampling != "instances":
        return []
    return [
        (nodule.centre_mm, (nodule.diameter_mm or UNMEASURED_MM) / 2)
        for nodule in case.nodules
        if nodule.ignored
    ]


def _stamp(path: Path) -> tuple[str | int, ...]:
    """Return path, sizes and modification times of a volume's files; 0 for a missing one."""
    states = [_state(file) for file in files_of(path)]
    stamps = [(state.st_size, state.st_mtime_ns) if state else (0, 0) for state in states]
    return (str(path.absolute()), *chain.from_iterable(stamps))


def _state(path: Path) -> os.stat_result | None:
    """Return the status of a file; None if it does not exist, or its name is too long."""
    try:
        return path.stat()
    except OSError:
        return None


def _key(parts: Sequence[object]) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _complete(item: PreparedCase, *, config: DataConfig, verify: bool) -> None:
    """Prepare the fields of a case that the cache lacks."""
    valid = {name for name, file in item.files.items() if file.exists()}
    if verify and not all(_is_valid(item, name) for name in valid):
        valid = set()
    if "image" not in valid:
        _prepare_image(item, config)
    for name in set(item.files) - {"image"} - valid:
        _prepare_labels(item, name)


def _require_nodules_inside(item: PreparedCase) -> None:
    """Raise UserError if the centre of a nodule is outside the prepared volume."""
    if not item.case.nodules:
        return
    lost = [
        nodule.name
        for nodule in item.nodules
        if not nodule.ignored and not contains(item.shape, np.array(nodule.voxel))
    ]
    if lost:
        raise UserError(
            f"case {item.name!r}: the centres of nodules {', '.join(lost[:5])} are outside the "
            f"prepared volume. Coordinates are RAS+ mm of the scan (`semilung data check` compares "
            f"them); if they are right, raise data.lung_margin_mm or set crop_to_lungs=false"
        )


def _is_valid(item: PreparedCase, name: str) -> bool:
    """Return whether an entry is undamaged and its source unchanged."""
    try:
        entry = open_entry(item.files[name])
        entry.read()
    except UserError:
        return False
    return bool(entry.meta["sha256"] == _digest(item.case.volumes()[name]))


def _digest(path: Path) -> str:
    digests = []
    for file in files_of(path):
        with file.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return " ".join(digests)


def prepared_image(
    source: Volume, config: DataConfig, *, name: str
) -> tuple[Volume, NDArray[np.bool_] | None]:
    """Prepare a CT for the network, in training and prediction: RAS+, lungs, clip, spacing, int16.

    Args:
        source: In HU, on its original grid.
        config: Parameters of the preparation.
        name: Name of the scan, for messages.

    Returns:
        The volume, and its blocks that hold lung: None where lungs were not searched or not found.

    Warns:
        UserWarning: The voxels may not be HU, or no lungs were found in a scan as wide as a chest.

    Raises:
        UserError: The voxels are not HU of a chest: not finite, constant, normalised ...
    """
    require_hu(source.data, name=name)
    volume = straightened(to_ras(source), fill=config.clip_hu[0])
    search = find_lungs(volume)
    if search.lacking:
        warnings.warn(f"{name}: {NO_LUNGS}", stacklevel=2)
    lungs = search.lungs if config.crop_to_lungs and not search.lacking else None
    if lungs is not None:
        volume = boxed(volume, lung_box(lungs, volume, config.lung_margin_mm))
    low, high = config.clip_hu
    volume = Volume(np.clip(volume.data, low, high, dtype=np.float32), volume.affine)
    if config.spacing_mm is not None:
        volume = image_onto(volume, at_spacing(volume, config.spacing_mm), fill=low)
    blocks = None if lungs is None else lung_blocks(lungs, volume, config.lung_margin_mm)
    return Volume(np.rint(volume.data).astype(np.int16), volume.affine), blocks


def _prepare_image(item: PreparedCase, config: DataConfig) -> None:
    source = read_volume(item.case.image)
    volume, lungs = prepared_image(source, config, name=str(item.case.image))
    meta = {
        "case": item.name,
        "affine": volume.affine.tolist(),
        "source_shape": list(source.shape),
        "source_affine": source.affine.tolist(),
        "lungs": None if lungs is None else np.packbits(lungs).tobytes(),
        "sha256": _digest(item.case.image),
    }
    write_entry(item.files["image"], volume.data, meta)
    open_entry.cache_clear()


def _prepare_labels(item: PreparedCase, name: str) -> None:
    path = item.case.volumes()[name]
    labels = read_volume(path)
    if (issue := label_issue(labels.data)) is not None:
        raise UserError(f"{path}: {issue.message}")
    labels = Volume(whole_labels(labels.data), labels.affine)
    if not labels_fit(path, labels, item.source):
        raise UserError(
            f"{path}: shape {labels.shape} or affine is not the image's ({item.source.shape}); "
            f"resample it onto the image"
        )
    grid = Grid(item.shape, item.affine)
    meta: dict[str, Any] = {"case": item.name, "sha256": _digest(path)}
    if FIELDS[name].resampling == "classes":
        write_entry(item.files[name], classes_onto(labels, grid), meta)
        return
    data = nodule_instances(labels.data)
    instances = labels if data is labels.data else Volume(data, labels.affine)
    mask = instances_onto(instances, grid)
    _require_every_nodule(path, labels, instances, mask, grid)
    for centre_mm, radius_mm in _ignored_balls(item.case, name):
        box, ball = ball_voxels(*grid, centre_mm, radius_mm)
        mask[box][ball & (mask[box] == 0)] = IGNORE
    write_entry(item.files[name], mask, meta | mask_instances(mask, item.spacing_mm))


def _require_every_nodule(
    path: Path, labels: Volume, instances: Volume, mask: NDArray[np.uint8], grid: Grid
) -> None:
    """Raise UserError if a nodule is not in the resampled mask.

    Components of one label may merge in a coarse voxel; what was labelled apart may not.
    """
    lost = np.setdiff1d(np.unique(instances.data), [*np.unique(mask), 0, IGNORE]).tolist()
    outside = [label for label in lost if not _is_inside(instances, label, grid)]
    if outside:
        raise UserError(
            f"{path}: nodules {outside} lie outside the lungs' box; raise data.lung_margin_mm or "
            f"set crop_to_lungs=false"
        )
    if lost and instances is labels:
        spacing_mm = np.linalg.norm(grid.affine[:3, :3], axis=0).round(3).tolist()
        raise UserError(
            f"{path}: nodules {lost} vanish at {spacing_mm} mm, in another's voxel; choose a finer "
            f"spacing_mm"
        )


def _is_inside(instances: Volume, label: int, grid: Grid) -> bool:
    """Whether the centroid of an instance is within a grid, or a voxel beyond: rounded sizes."""
    centroid = np.argwhere(instances.data == label).mean(axis=0)
    voxel = voxel_of(grid.affine, (instances.affine @ [*centroid, 1.0])[:3].tolist())
    x, y, z = grid.shape
    return contains((x + 2, y + 2, z + 2), voxel + 1)


def mask_instances(
    mask: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> dict[str, Any]:
    """Return up to `FOREGROUND_VOXELS` voxels of each nodule, its centre and its diameter."""
    rng = np.random.default_rng(0)  # reproducible on every machine
    locations = [np.empty((0, 3), np.int16)]
    diameters_mm = [np.empty(0, np.float32)]
    nodules = []
    for label, box in enumerate(ndimage.find_objects(mask), start=1):
        if box is not None and label != IGNORE:
            voxels = np.argwhere(mask[box] == label) + [cut.start for cut in box]
            chosen = rng.permutation(len(voxels))[:FOREGROUND_VOXELS]
            locations.append(voxels[np.sort(chosen)].astype(np.int16))
            diameter_mm = ball_diameter_mm(len(voxels), float(np.prod(spacing_mm)))
            diameters_mm.append(np.full(len(chosen), diameter_mm, np.float32))
            nodules.append([label, *voxels.mean(0).tolist(), float(diameter_mm)])
    return {
        "foreground": np.concatenate(locations).tobytes(),
        "diameters_mm": np.concatenate(diameters_mm).tobytes(),
        "nodules": nodules,
    }
