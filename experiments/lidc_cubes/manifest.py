"""Manifests of the LIDC-IDRI cubes: nodules with fixed validation cubes, healthy, background.

    python experiments/lidc_cubes/manifest.py OUT

writes OUT/manifest.csv (training and validation) and, for evaluation only, OUT/background.csv
(nodule-free cubes of the nodules' own cohort) and OUT/healthy.csv (the healthy cubes of `val`). The
data is found through SEMILUNG_DATA.

- Nodule cubes, one patient each: the data set's 20 test cubes are `test` and stay closed; of its 62
  train cubes, a permutation of fixed seed makes 16 `val`.
- Healthy cubes stem from one subject; one lung trains, the other is `val`. The lungs are named as
  two patients, which they are not: metrics on them describe a net on that one subject.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from semilung.csv_tables import write_csv

VAL_CUBES = 16
FOLD_SEED = 0


def nodules(data: Path) -> pd.DataFrame:
    """Nodule cubes: labelled; ratings and sizes kept as targets."""
    folder = data / "nodule_cubes"
    index = pd.read_csv(folder / "index.csv").sort_values("case", ignore_index=True)
    train = index.index[index["split"] == "train"].to_numpy()
    val = np.random.default_rng(FOLD_SEED).permutation(train)[:VAL_CUBES]
    split = index["split"].where(~index.index.isin(val), "val")
    named = pd.DataFrame(
        {
            "case": index["case"],
            "patient": index["case"],
            "image": [str(folder / f"{case}_ct.nii.gz") for case in index["case"]],
            "role": "labelled",
            "mask": [str(folder / f"{case}_mask.nii.gz") for case in index["case"]],
            "bag_label": "1",
            "split": split,
            "cohort": "lidc",
        }
    )
    return pd.concat([named, index.drop(columns=["case", "split"])], axis=1)


def nodule_free(data: Path, folder: str, cohort: str) -> pd.DataFrame:
    """Healthy or background cubes; the data set's `test` lung is our `val`."""
    index = pd.read_csv(data / folder / "index.csv")
    lung = index["split"].map({"train": "train", "test": "val"})
    return pd.DataFrame(
        {
            "case": index["case"],
            "patient": index["subject"] + "_" + lung + "_lung",
            "image": [str(data / folder / f"{case}_ct.nii.gz") for case in index["case"]],
            "role": "healthy",
            "split": lung,
            "cohort": cohort,
        }
    )


def main() -> None:
    """Write the manifests."""
    out = Path(sys.argv[1])
    data = Path(os.environ["SEMILUNG_DATA"]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    healthy = nodule_free(data, "healthy_cubes", "covid_ct_md")
    manifests = {
        "manifest": pd.concat([nodules(data), healthy]),
        "background": nodule_free(data, "background_cubes", "lidc"),
        "healthy": healthy[healthy["split"] == "val"],
    }
    for name, table in manifests.items():
        write_csv(out / f"{name}.csv", table)
        print(out / f"{name}.csv")


if __name__ == "__main__":
    main()
