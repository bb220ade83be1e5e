"""`semilung data anatomy`: coarse anatomy labels from the CT alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from semilung.api.paths import PathLike
from semilung.data.anatomy import AnatomyOutcome, add_anatomy
from semilung.suggestions import require_choice

LUNGS = ("classical", "lungmask")


def anatomy(
    manifest: PathLike,
    *,
    out: PathLike | None = None,
    lungs: Literal["classical", "lungmask"] = "classical",
    overwrite: bool = False,
    progress: bool = False,
    scheduler: str | None = None,
) -> AnatomyOutcome:
    """Label the anatomy of every case, and write `<name>_anatomy.csv` next to the manifest.

    Args:
        manifest: The manifest; its masks are not read.
        out: Folder of the labels; `anatomy` next to the manifest by default.
        lungs: `classical`, or `lungmask` for the network of that package, which it downloads.
        overwrite: Redo all labels.
        progress: Show progress on standard error.
        scheduler: `local` for a Dask cluster of this machine, or the address of a Dask scheduler.

    Returns:
        The new manifest, the number of cases labelled, and a message for each that failed.

    Raises:
        UserError: The manifest is invalid, `lungmask` is not installed, or an output file is named
            in the manifest.
    """
    require_choice("lungs", lungs, LUNGS)
    return add_anatomy(
        Path(manifest),
        out=None if out is None else Path(out),
        lungs=lungs,
        overwrite=overwrite,
        progress=progress,
        scheduler=scheduler,
    )
