"""Manifests of nodule cubes and whole healthy scans to train on, of whole scans to evaluate on.

    python experiments/lidc_cubes/manifest.py OUT/cubes
    python experiments/whole_scans/manifest.py OUT

The data is found through SEMILUNG_DATA. For each choice of a subject without nodules (none,
normal_001, acrin013) two manifests are written:

- OUT/SUBJECT/manifest.csv, for training: the 46 training cubes and 16 validation cubes of
  `lidc_cubes/manifest.py` (the data set's 20 test cubes are left out) and the subject's whole scan.
  normal_001 is certified healthy; acrin013 has no *visible* nodule (4 mm slices), which is less.
- OUT/SUBJECT/test/manifest.csv, for evaluation: two scans of one LIDC patient, and the subjects
  without nodules that the training did not see. Reference nodules are those that three or more
  readers outlined, with a diameter of 5 mm or more; all else that any reader outlined is ignored,
  in masks (255) and in nodules.csv. The patient may have a cube among the nodule cubes, for these
  carry no patient.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from semilung.data import (
    Case,
    Nodule,
    Volume,
    read_manifest,
    read_volume,
    write_manifest,
    write_volume,
)
from semilung.data.content.components import connected_components
from semilung.data.io.grid import ball_diameter_mm
from semilung.types import IGNORE, Split

POSITIVE = ("lidc_0132", "lidc_0132b")
PATIENT = "lidc_0132"
NODULE_FREE = ("normal_001", "acrin013")
READERS, SMALLEST_MM = 3, 5.0


def reference(scan: Path, name: str) -> tuple[Volume, tuple[Nodule, ...]]:
    """Return the mask of a scan (1 to 254 nodules, 255 ignored) and its nodules."""
    labels = read_volume(scan / f"{name}_nodules.nii.gz")
    votes = read_volume(scan / f"{name}_votes.nii.gz").data
    outlined = labels.data.astype(np.int32)
    components, _ = connected_components(votes > 0)
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        inside = components[box] == number
        if not outlined[box][inside].any():  # nowhere outlined by half of the readers
            outlined[box][inside] = outlined.max() + 1
    mask = np.where(votes > 0, IGNORE, 0).astype(np.uint8)
    nodules = []
    for label, box in enumerate(ndimage.find_objects(outlined), start=1):
        inside = outlined[box] == label
        diameter_mm = ball_diameter_mm(int(inside.sum()), float(np.prod(labels.spacing_mm)))
        counts = votes[box][inside].max() >= READERS and diameter_mm >= SMALLEST_MM
        if counts:
            mask[box][inside] = label
        centre = np.argwhere(inside).mean(axis=0) + [cut.start for cut in box]
        x, y, z = (labels.affine @ [*centre, 1])[:3].round(3).tolist()
        nodules.append(
            Nodule(str(label), (x, y, z), round(float(diameter_mm), 2), ignored=not counts)
        )
    return Volume(mask, labels.affine), tuple(nodules)


def positive(scans: Path, name: str, out: Path) -> Case:
    """Write the mask of a LIDC scan; return its case."""
    mask, nodules = reference(scans, name)
    out.mkdir(parents=True, exist_ok=True)
    write_volume(out / f"{name}_mask.nii.gz", mask.data, mask.affine)
    return Case(
        name, PATIENT, scans / f"{name}_ct.nii.gz", "labelled", mask=out / f"{name}_mask.nii.gz",
        split="test", cohort="lidc", nodules=nodules,
    )  # fmt: skip


def nodule_free(scans: Path, name: str, split: Split) -> Case:
    """Return the case of a subject without nodules."""
    return Case(name, name, scans / f"{name}_ct.nii.gz", "healthy", split=split, cohort=name)


def main() -> None:
    """Write the manifests."""
    out = Path(sys.argv[1]).resolve()
    scans = Path(os.environ["SEMILUNG_DATA"]).resolve() / "scans"
    cubes = [
        case
        for case in read_manifest(out / "cubes" / "manifest.csv")
        if case.role == "labelled" and case.split != "test"
    ]
    positives = [positive(scans, name, out / "masks") for name in POSITIVE]
    for subject in ("none", *NODULE_FREE):
        trained = [nodule_free(scans, name, "train") for name in NODULE_FREE if name == subject]
        unseen = [nodule_free(scans, name, "test") for name in NODULE_FREE if name != subject]
        print(write_manifest(out / subject / "manifest.csv", [*cubes, *trained]))
        print(write_manifest(out / subject / "test" / "manifest.csv", [*positives, *unseen]))


if __name__ == "__main__":
    main()
