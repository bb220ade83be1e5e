"""The content-blind ball beside the arms, where every case is a cube of one size."""

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
"""Below this Dice cases are whole scans, not cut around their nodules: no baseline to mention."""


def ball_dice(group: Group) -> float | None:
    """Mean Dice, over judged cases, of the ball that fits the training cases best.

    Its centre is the mean centroid, and its radius is fitted, on every training mask that the
    manifest names, beyond the label budget too, which makes it the harder to beat; fold by fold,
    by the splits of the group's first contender with its first seed.

    Returns:
        None where a manifest, its splits or masks are not at hand, cases are no cubes of one size
        and spacing, or the ball has next to no overlap.
    """
    first = next(iter(group.contenders.values()))
    scores: list[float] = []
    for run in (run for run in first if run.seed == first[0].seed):
        try:
            found = _of_run(run)
        except UserError:  # the volumes have moved or changed since: no baseline, still a report
            return None
        if found is None:
            return None
        scores += found
    mean = float(np.mean(scores)) if scores else 0.0
    return mean if mean >= LEAST else None


def _of_run(run: Run) -> list[float] | None:
    manifest = Path(str((run.config.get("data") or {}).get("manifest")))
    if not (manifest.is_file() and run.splits):
        return None
    cases = {case.case: case for case in read_manifest(manifest)}
    trained = [
        cases[c] for c, kept in run.splits.items() if kept["split"] == "train" and c in cases
    ]
    train = [case for case in trained if case.role == "labelled"]
    positive = run.cases[run.cases["reference_volume_mm3"] > 0]["case"]
    judged = [cases[name] for name in positive if name in cases]
    if not train or len(judged) < len(positive) or not _cubes([*train, *judged]):
        return None
    seen = [volume for volume in _masks(train) if _lesion(volume).any()]
    if not seen:
        return None
    fitted = _fit(seen)
    return [dice(fitted, volume.data) for volume in _masks(judged)]


def _cubes(cases: Sequence[Case]) -> bool:
    """Whether all have masks on cubes of one size and one spacing."""
    if any(case.mask is None for case in cases):
        return False
    grids = [read_grid(case.mask) for case in cases if case.mask]
    shapes = {grid.shape for grid in grids}
    spacings = {tuple(np.round(np.linalg.norm(grid.affine[:3, :3], axis=0), 4)) for grid in grids}
    return len(shapes) == len(spacings) == 1 and len(set(shapes.pop())) == 1


def _masks(cases: Sequence[Case]) -> list[Volume]:
    return [to_ras(read_volume(case.mask)) for case in cases if case.mask]


def _lesion(volume: Volume) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (volume.data > 0) & (volume.data != IGNORE)
    return found


def _fit(volumes: Sequence[Volume]) -> NDArray[Any]:
    spacing_mm, shape = volumes[0].spacing_mm, volumes[0].shape
    centre = np.mean([np.argwhere(_lesion(v)).mean(axis=0) for v in volumes], axis=0)
    radii = np.arange(STEP_MM, min(spacing_mm) * shape[0] / 2, STEP_MM)
    ball = best_ball([volume.data for volume in volumes], spacing_mm, radii, centre)
    return content_blind_ball(shape, ball.centre_voxel, ball.radius_mm, spacing_mm)
