"""`semilung predict`: nodule masks of scans."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from semilung.api.load import load
from semilung.api.predict_files import predict_files
from semilung.types import UserError

PathLike = str | os.PathLike[str]


def predict(
    runs: PathLike | Sequence[PathLike],
    scans: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    checkpoint: str = "last",
    settings: Sequence[str] = (),
    threshold: float | None = None,
    probability: bool = False,
    confident: float | None = None,
    overwrite: bool = False,
    series: str | None = None,
    progress: bool = False,
) -> list[Path]:
    """Write `<scan>_nodules.nii.gz` into a folder for every scan, in the scan's own geometry.

    Args:
        runs: A run's folder, or several, which must prepare scans alike and are averaged.
        scans: CT volumes, or folders of DICOM slices; one that fails does not stop the others.
        out: Folder of the masks.
        checkpoint: `last` or `best`.
        settings: `inference.key=value` words in place of the first run's settings.
        threshold: Foreground above this probability, in [0, 1); the first run's by default.
        probability: Write `<scan>_probability.nii.gz` too.
        confident: Write `<scan>_pseudo.nii.gz` too, the mask with voxels below this confidence set
            to 255, and a `manifest.csv` by which another run can train on them. In [0.5, 1].
        overwrite: Replace masks that exist.
        series: Which series of each DICOM folder, by its number; None where there is one.
        progress: Show scans and windows on standard error.

    Returns:
        The files written.

    Raises:
        UserError: Before anything is predicted: a run that cannot be loaded, runs that prepare
            scans differently, two scans of one name, an existing mask, a folder that cannot be
            written. At the end: scans that could not be segmented.
    """
    if confident is not None and series is not None:
        raise UserError(
            "a series (--series) and pseudo-labels (--pseudo-labels) do not go together, because a "
            "manifest names a folder and not one of its series: copy the series into a folder of "
            "its own and give that"
        )
    return predict_files(
        load(*listed(runs), checkpoint=checkpoint, settings=settings),
        listed(scans),
        Path(out),
        threshold=threshold,
        probability=probability,
        confident=confident,
        overwrite=overwrite,
        series=series,
        progress=progress,
    )


def listed(paths: PathLike | Sequence[PathLike]) -> list[Path]:
    """Return one path or several as a list."""
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    return [Path(path) for path in several]
