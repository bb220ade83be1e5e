"""Manifest to pre-train on without a LIDC nodule: synthetic nodules in scans without nodules.

    python experiments/characterization/inserted.py OUT

writes OUT/pretraining/manifest.csv with

- `labelled`: 200 cubes of 48 mm from normal_001 and acrin013 with a synthetic nodule of 4 to 28 mm
  each (`strategy=nodule_insertion`), and its exact mask,
- `healthy`: normal_001 whole, `unlabelled`: two scans of other collections.

LIDC's cubes, crops and scans share patients without a common key, so that a net that saw the cubes
must not be evaluated on the crops: nothing here is of LIDC. The data is found through
SEMILUNG_DATA.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from semilung.data import (
    Case,
    Volume,
    read_volume,
    resample_onto,
    scale_hu,
    write_manifest,
    write_volume,
)
from semilung.strategies.nodule_insertion.insertion import NoduleInsertion

HOSTS = ("normal_001", "acrin013")
UNLABELLED = ("rider_pilot_0117", "lung_dx_A0001_softkernel")
CUBES, EDGE = 100, 48
"""Cubes of each host, and their edge in mm and voxels."""

WINDOW_HU = (-1000.0, 400.0)
LUNG_HU, LUNG_SHARE = (-980, -600), 0.4
"""Cubes have this share of voxels in this range."""


def host_cubes(scan: Path, rng: np.random.Generator) -> list[Volume]:
    """Return cubes of lung of a scan, HU at 1 mm."""
    native = read_volume(scan)
    shape = tuple(int(n * mm) for n, mm in zip(native.shape, native.spacing_mm, strict=True))
    affine = native.affine @ np.diag([1 / mm for mm in native.spacing_mm] + [1])
    whole = resample_onto(native, shape, affine, order=1, fill=-1024)
    cubes: list[Volume] = []
    while len(cubes) < CUBES:
        start = rng.integers(0, np.array(shape) - EDGE)
        data = whole.data[tuple(slice(s, s + EDGE) for s in start)]
        if ((data > LUNG_HU[0]) & (data < LUNG_HU[1])).mean() >= LUNG_SHARE:
            moved = affine.copy()
            moved[:3, 3] = (affine @ [*start, 1])[:3]
            cubes.append(Volume(data, moved))
    return cubes


def inserted(host: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Return a cube with a synthetic nodule in HU, and the nodule's mask, empty if none fits."""
    strategy = NoduleInsertion(inserted_share=1.0, real_share=0.0, window_hu=WINDOW_HU)
    image = torch.from_numpy(scale_hu(host.data.astype(np.float32), WINDOW_HU))[None, None]
    step = SimpleNamespace(batch=lambda stream: {"weak": image})
    images, labels = strategy.insert(step)
    low, high = WINDOW_HU
    hu = (images[0, 0].numpy() * (high - low) + low).round().astype(np.int16)
    changed = (images != image)[0, 0].numpy()  # the soft edge, too
    return np.where(changed, hu, host.data).astype(np.int16), labels[0, 0].numpy()


def main() -> None:
    """Write cubes and manifest."""
    out = Path(sys.argv[1]).resolve() / "pretraining"
    scans = Path(os.environ["SEMILUNG_DATA"]).resolve() / "scans"
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    rng, cases = np.random.default_rng(0), []
    for host in HOSTS:
        for number, cube in enumerate(host_cubes(scans / f"{host}_ct.nii.gz", rng)):
            image, mask = inserted(cube)
            if not mask.any():
                continue
            name = f"{host}_{number:03d}"
            paths = [out / f"{name}_ct.nii.gz", out / f"{name}_mask.nii.gz"]
            for path, data in zip(paths, (image, mask), strict=True):
                write_volume(path, data, cube.affine)
            cases.append(Case(name, host, paths[0], "labelled", mask=paths[1], split="train"))
    whole = scans / f"{HOSTS[0]}_ct.nii.gz"
    cases.append(Case(HOSTS[0], HOSTS[0], whole, "healthy", split="train"))
    cases.extend(
        Case(name, name, scans / f"{name}_ct.nii.gz", "unlabelled", split="train")
        for name in UNLABELLED
    )
    write_manifest(out / "manifest.csv", cases)
    print(f"{len(cases)} cases in {out / 'manifest.csv'}")


if __name__ == "__main__":
    main()
