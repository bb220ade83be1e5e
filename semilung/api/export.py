"""`semilung export`: a run's net in a form for sharing, or for other programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from semilung.api.paths import PathLike
from semilung.data import read_manifest
from semilung.export import nnunet_raw
from semilung.export.monai_bundle import METADATA, write_bundle
from semilung.export.onnx_net import write_onnx
from semilung.runs import with_settings
from semilung.runs.exported_config import CONFIG
from semilung.runs.exported_net import write_export
from semilung.runs.load import CHECKPOINTS, built, prediction_config, read_net
from semilung.runs.run_folder import RunFolder
from semilung.suggestions import require_choice
from semilung.types import UserError


class _Form(NamedTuple):
    """A form of export: the file that is written last, and what writes it from a module."""

    last: str
    write: Callable[..., None] | None = None


FORMS = {
    "safetensors": _Form(CONFIG),
    "monai": _Form(METADATA, write_bundle),
    "onnx": _Form("", write_onnx),
}
"""Forms by name; an ONNX is one file, the others are folders."""


def export(
    run: PathLike,
    out: PathLike,
    *,
    to: str = "safetensors",
    checkpoint: str = "last",
    half: bool = False,
    settings: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write the net of a run in a form for sharing, or for other programs.

    Runs that are averaged are exported one each; `load` and `predict` average exports as they do
    runs.

    Args:
        run: Folder of a run, or of an earlier export to `safetensors`.
        out: Folder of the export, or a file `*.onnx`.
        to: `safetensors` (weights and settings, which `load`, `predict` and `init=` read),
            `monai` (a bundle that MONAI's runner runs) or `onnx`.
        checkpoint: `last` or `best`.
        half: Round the weights of `safetensors` to float16, half the size.
        settings: `inference.key=value` words in place of the run's, such as a threshold.
        overwrite: Replace an export.

    Returns:
        `out`.

    Raises:
        UserError: The run cannot be read, `out` exists or holds a run, a package is not installed,
            or the written net would differ from the run's.

    Example:
        >>> export("runs/mine", "shared/mine", half=True)  # doctest: +SKIP
        PosixPath('shared/mine')
    """
    require_choice("--to", to, tuple(FORMS))
    require_choice("checkpoint", checkpoint, CHECKPOINTS)
    run, out, form = Path(run), Path(out), FORMS[to]
    if half and form.write is not None:
        raise UserError(f"--half is of --to safetensors; {to} keeps float32, leave it out")
    _require_free(out, to, overwrite=overwrite)
    config = with_settings(prediction_config(run), settings)
    saved = read_net(run, checkpoint)
    module = built(saved, source=run)  # weights that do not fit are not passed on
    write = partial(form.write, module) if form.write else partial(write_export, half=half)
    write(saved, config, out)
    return out


def export_nnunet(
    manifest: PathLike,
    out: PathLike,
    *,
    healthy: bool = False,
    pseudo_labels: PathLike | None = None,
    progress: bool = False,
    scheduler: str | None = None,
) -> dict[str, int]:
    """Write a manifest's cohort as a raw data set of nnU-Net; see `export.nnunet_raw`.

    Args:
        manifest: Path of the manifest.
        out: New folder, for nnU-Net named `DatasetNNN_NAME`.
        healthy: Take healthy scans, with empty label maps.
        pseudo_labels: Folder that `predict` wrote with pseudo-labels, for cases without labels.
        progress: Show a progress bar on standard error.
        scheduler: `local` for a Dask cluster of this machine, or the address of a Dask scheduler.

    Returns:
        Number of scans in `Tr`, in `Ts`, and left out (`healthy`).

    Raises:
        UserError: The manifest is invalid, nothing is left to train on, `out` is not empty, or a
            case cannot be read.
    """
    return nnunet_raw.export_nnunet(
        read_manifest(manifest),
        Path(out),
        healthy=healthy,
        pseudo_labels=None if pseudo_labels is None else Path(pseudo_labels),
        progress=progress,
        scheduler=scheduler,
    )


def _require_free(out: Path, to: str, *, overwrite: bool) -> None:
    """Raise UserError where an export may not be written."""
    if to == "onnx" and (out.suffix != ".onnx" or out.is_dir()):
        raise UserError(f"{out}: an ONNX is one file; choose a name that ends in .onnx")
    if to != "onnx" and (out.is_file() or RunFolder(out).config.exists()):
        raise UserError(f"{out} is a file or the folder of a run; choose another --out")
    if (out / FORMS[to].last).exists() and not overwrite:
        raise UserError(
            f"{out} exists; add --overwrite (overwrite=True in Python) to replace the export, or "
            f"choose another --out"
        )
