"""Content-blind ball as a baseline of the arms, where all cases are cubes of one size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data import Case, Volume, read_grid, read_manifest, read_volume, to_ras
from semilung.evaluation import best_ball, content_blind_ball, dice
from semilung.report.study import Group, Run
from semilung.types import IGNORE, UserError

STEP_MM = 0.25

LEAST = 0.05
"""Lowest Dice to report: below, cases are whole scans rather than crops around their nodule."""


def ball_dice(group: Group) -> float | None:
    """Return the mean Dice, over evaluated cases, of the ball that fits the training cases best.

    Its centre is the mean centroid of all training masks in the manifest and its radius the best
    one on them. Masks beyond the label budget are included, which makes the baseline stronger. One
    ball is fitted per fold, with the splits of the group's first contender and its first seed.

    Returns:
        None if manifest, splits or masks are not available, cases are not cubes of one size and
        spacing, or the Dice is below `LEAST`.
    """
    first = next(iter(group.contenders.values()))
    scores: list[float] = []
    for run in (run for run in first if run.seed == first[0].seed):
        try:
            fold_scores = _fold_scores(run)
        except UserError:  # volumes were moved or changed since the training
            return None
        if fold_scores is None:
            return None
        scores += fold_scores
    mean = float(np.mean(scores)) if scores else 0.0
    return mean if mean >= LEAST else None


def _fold_scores(run: Run) -> list[float] | None:
    manifest = Path(str((run.config.get("data") or {}).get("manifest")))
    if not (manifest.is_file() and run.splits):
        return None
    cases = {case.case: case for case in read_manifest(manifest)}
    train = [
        cases[name]
        for name, entry in run.splits.items()
        if entry["split"] == "train"
        and name in cases
        and cases[name].mask
        and cases[name].role == "labelled"
    ]
    positive = run.cases[run.cases["reference_volume_mm3"] > 0]["case"]
    evaluated = [cases[name] for name in positive if name in cases]
    if not train or len(evaluated) < len(positive) or not _are_equal_cubes([*train, *evaluated]):
        return None
    volumes = [volume for volume in _masks(train) if _lesion(volume).any()]
    if not volumes:
        return None
    ball = _fit(volumes)
    return [dice(ball, volume.data) for volume in _masks(evaluated)]


def _are_equal_cubes(cases: Sequence[Case]) -> bool:
    """Return whether all cases have masks on cubes of one size and one spacing."""
    if any(case.mask is None for case in cases):
        return False
    grids = [read_grid(case.mask) for case in cases if case.mask]
    shapes = {grid.shape for grid in grids}
    spacings = {tuple(np.round(np.linalg.norm(grid.affine[:3, :3], axis=0), 4)) for grid in grids}
    return len(shapes) == len(spacings) == 1 and len(set(shapes.pop())) == 1


def _masks(cases: Sequence[Case]) -> list[Volume]:
    return [to_ras(read_volume(case.mask)) for case in cases if case.mask]


def _lesion(volume: Volume) -> NDArray[np.bool_]:
    return np.asarray((volume.data > 0) & (volume.data != IGNORE))


def _fit(volumes: Sequence[Volume]) -> NDArray[Any]:
    spacing_mm, shape = volumes[0].spacing_mm, volumes[0].shape
    centre = np.mean([np.argwhere(_lesion(v)).mean(axis=0) for v in volumes], axis=0)
    radii = np.arange(STEP_MM, min(spacing_mm) * shape[0] / 2, STEP_MM)
    ball = best_ball([volume.data for volume in volumes], spacing_mm, radii, centre)
    return content_blind_ball(shape, ball.centre_voxel, ball.radius_mm, spacing_mm)
