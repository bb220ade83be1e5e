"""Self-training: predictions of a finished run become masks of the unlabelled cubes.

    python experiments/lidc_cubes/self_training.py OUT RUN ROUND [CONFIDENT]
    python experiments/lidc_cubes/compare.py ROUND strategy=supervised seed=...

OUT is that of manifest.py and RUN a run on it. ROUND gets the manifest for a new training from the
start: the run's labelled cubes with their masks, its unlabelled ones with pseudo-labels (less
confident voxels ignored; 0.5 ignores none), and those without a prediction unchanged.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from compare import semilung

from semilung.files import read_json


def main() -> None:
    """Predict, then write ROUND's manifests."""
    out, run, new = (Path(word).resolve() for word in sys.argv[1:4])
    confident = float(sys.argv[4]) if len(sys.argv) > 4 else 0.9
    manifest = pd.read_csv(out / "manifest_anatomy.csv", dtype={"bag_label": "Int64"})
    splits = read_json(run / "splits.json")
    without = [
        case
        for case, kept in splits.items()
        if kept["split"] == "train" and kept["role"] in ("weak", "unlabelled")
    ]
    rows = manifest.set_index("case").loc[without]
    words = ("--run", run, "--out", new / "found", "--pseudo-labels", "--confident", confident)
    if semilung("predict", *rows["image"], *words, "--overwrite"):
        sys.exit(f"{run} could not be asked for labels")
    found = pd.read_csv(new / "found" / "manifest.csv").set_index("image")["mask"]
    for case, image in rows["image"].items():
        mask = new / "found" / found[image]
        holds = bool((np.asanyarray(nib.load(mask).dataobj) == 1).any())
        there = manifest["case"] == case
        manifest.loc[there, "mask"] = str(mask) if holds else None
        manifest.loc[there, "role"] = "labelled" if holds else "unlabelled"
    manifest["anatomy"] = [str(out / path) for path in manifest["anatomy"]]
    manifest.to_csv(new / "manifest_anatomy.csv", index=False)
    shutil.copy(out / "background.csv", new)
    labelled = manifest.query("role == 'labelled' and split != 'test'")
    print(f"{new}: {len(labelled)} labelled cubes without the test cubes")


if __name__ == "__main__":
    main()
