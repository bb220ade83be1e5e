"""nnU-Net raw data set, version 2, of a manifest: the way back of `data import nnunet`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semilung.data import Case, Volume, read_manifest, read_volume, write_volume
from semilung.data.content.nodule_instances import read_labels
from semilung.files import write_text
from semilung.inference.pseudo_labels import MANIFEST
from semilung.jobs import run_jobs
from semilung.types import IGNORE, UserError

DATASET, SPLITS = "dataset.json", "splits_final.json"
ENDING = ".nii.gz"
NODULE, IGNORED = 1, 2
"""Values of nnU-Net's label maps: consecutive, `ignore` the highest."""


@dataclass(frozen=True)
class _Scan:
    """A scan of the data set: `Tr` or `Ts`, and its label map.

    Attributes:
        case: The case.
        part: `Tr` for training, `Ts` for test and for what has no label.
        labelled: Whether it has a label map.
        mask: Its file; None for an empty label map.
    """

    case: Case
    part: str
    labelled: bool
    mask: Path | None = None


def export_nnunet(
    cases: Sequence[Case],
    out: Path,
    *,
    healthy: bool = False,
    pseudo_labels: Path | None = None,
    progress: bool = True,
    processes: int | None = None,
    scheduler: str | None = None,
) -> dict[str, int]:
    """Write cases as `imagesTr`, `labelsTr`, `imagesTs`, `labelsTs` and `dataset.json`.

    Voxels and grids stay as they are. Every nodule becomes label 1, voxels of value 255 nnU-Net's
    `ignore`. Labelled cases of the split `test` go into `imagesTs` and `labelsTs`, which nnU-Net
    does not train on; cases without a label go into `imagesTs`. Where the manifest states
    validation cases, `splits_final.json` holds them as nnU-Net reads them.

    Args:
        cases: The cohort.
        out: New folder, which nnU-Net expects to be named `DatasetNNN_NAME`.
        healthy: Take healthy scans as scans with an empty label map; without it, they are left out.
        pseudo_labels: Folder that `semilung predict --pseudo-labels` wrote, whose masks become
            labels of the training cases that have none.
        progress: Show a progress bar.
        processes: Cases at a time; None is one a core, at most 8.
        scheduler: Dask cluster on which to work, as in `run_jobs`; None for processes.

    Returns:
        Number of scans in `Tr`, in `Ts`, and left out (`healthy`).

    Raises:
        UserError: There is nothing to train on, `out` is not empty, no pseudo-label is of a case,
            or a case cannot be read.

    Warns:
        UserWarning: Healthy cases are left out, or labelled cases have no mask.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; choose another one")
    pseudo = {} if pseudo_labels is None else _pseudo_masks(pseudo_labels, cases)
    scans = list(_scans(cases, pseudo, healthy=healthy))
    training = [scan for scan in scans if scan.part == "Tr"]
    if not training:
        raise UserError(
            "no case is left to train on: nnU-Net needs labelled cases with masks outside of the "
            "split test; add some, or give --pseudo-labels"
        )
    left_out = sum(case.role == "healthy" for case in cases) if not healthy else 0
    _warn(cases, left_out)
    failures = run_jobs(
        partial(_write_scan, out=out),
        [(scan.case.case, scan) for scan in scans],
        title="Exporting",
        progress=progress,
        processes=processes,
        scheduler=scheduler,
    )
    if failures:
        listed = "\n".join(f"  {name}: {reason}" for name, reason in sorted(failures.items()))
        raise UserError(
            f"{len(failures)} of {len(scans)} cases cannot be exported; fix them, remove {out} and "
            f"export again:\n{listed}"
        )
    _write_splits(training, out)
    write_text(out / DATASET, json.dumps(_dataset(training, out), indent=2) + "\n")
    return {"Tr": len(training), "Ts": len(scans) - len(training), "healthy": left_out}


def _scans(cases: Sequence[Case], pseudo: Mapping[Path, Path], *, healthy: bool) -> Iterator[_Scan]:
    for case in cases:
        part = "Ts" if case.split == "test" else "Tr"
        if case.role == "healthy":
            if healthy:
                yield _Scan(case, part, labelled=True)
            continue
        mask = case.mask if case.role == "labelled" else None
        if mask is None and part == "Tr":
            mask = pseudo.get(case.image.resolve())
        yield _Scan(case, part if mask else "Ts", labelled=mask is not None, mask=mask)


def _pseudo_masks(folder: Path, cases: Sequence[Case]) -> dict[Path, Path]:
    """Return image to pseudo-label, by the manifest that prediction wrote next to them."""
    predicted = read_manifest(folder / MANIFEST)
    masks = {case.image.resolve(): case.mask for case in predicted if case.mask}
    if not masks.keys() & {case.image.resolve() for case in cases}:
        raise UserError(
            f"{folder} holds pseudo-labels of other scans than the manifest's; predict its "
            f"unlabelled scans with `semilung predict --pseudo-labels`"
        )
    return masks


def _warn(cases: Sequence[Case], left_out: int) -> None:
    if left_out:
        warnings.warn(
            f"{left_out} healthy cases are left out; --healthy takes them as scans with an empty "
            f"label map",
            stacklevel=3,
        )
    without = [case.case for case in cases if case.role == "labelled" and case.mask is None]
    if without:
        warnings.warn(
            f"{len(without)} labelled cases have nodules but no mask, and nnU-Net cannot use "
            f"points: {', '.join(without[:5])} are exported without labels",
            stacklevel=3,
        )


def _write_scan(scan: _Scan, *, out: Path) -> None:
    """Write image and label map of a scan, the label map on the grid of the image."""
    name, source = scan.case.case, scan.case.image
    image = read_volume(source)
    if scan.labelled:
        labels = _labels(scan.mask, image)
        path = out / f"labels{scan.part}" / f"{name}{ENDING}"
        write_volume(path, labels, image.affine, like=source)
    path = out / f"images{scan.part}" / f"{name}_0000{ENDING}"
    write_volume(path, image.data, image.affine, like=source)


def _labels(path: Path | None, image: Volume) -> NDArray[np.uint8]:
    labels = np.zeros(image.shape, np.uint8)
    if path is None:
        return labels
    values = read_labels(path, image).data
    labels[values > 0] = NODULE
    labels[values == IGNORE] = IGNORED
    return labels


def _write_splits(training: Sequence[_Scan], out: Path) -> None:
    val = [scan.case.case for scan in training if scan.case.split == "val"]
    train = [scan.case.case for scan in training if scan.case.split != "val"]
    if val:
        write_text(out / SPLITS, json.dumps([{"train": train, "val": val}], indent=2) + "\n")


def _dataset(training: Sequence[_Scan], out: Path) -> dict[str, object]:
    """Return the content of `dataset.json`; `ignore` is declared where a voxel has it."""
    labels = {"background": 0, "nodule": NODULE}
    maps = (read_volume(path).data for path in sorted(out.glob(f"labelsT[rs]/*{ENDING}")))
    if any((values == IGNORED).any() for values in maps):
        labels["ignore"] = IGNORED
    return {
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": len(training),
        "file_ending": ENDING,
    }
