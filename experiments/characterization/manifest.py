"""Manifest of LIDC-IDRI's nodule crops, with the readers' ratings and the patients' diagnoses.

    python experiments/characterization/manifest.py OUT

writes OUT/manifest.csv, OUT/nodules.csv (targets of each nodule: nine ratings, and the readers'
vote; source `readers`) and OUT/pathology.csv (the same columns with source `pathology`: the
diagnosis of the nodules for which it is certain, which is not a reader's vote). The data is found
through SEMILUNG_DATA. Splits are not stated: they are made by patient.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from semilung.csv_tables import write_csv
from semilung.data import Case, Nodule, read_volume, write_manifest
from semilung.data.io.grid import ball_diameter_mm

NODULE = "1"
"""Name of the only nodule of each crop."""


def voi_case(folder: Path, row: dict[str, str]) -> Case:
    """Return one crop with its nodule, whose centre and diameter are those of the mask."""
    case = row.pop("case")
    patient = row.pop("patient")
    listed_mm = row.pop("diameter_mm")
    mask = read_volume(folder / f"{case}_mask.nii.gz")
    voxels = np.argwhere(mask.data > 0)
    x_mm, y_mm, z_mm = (mask.affine @ [*voxels.mean(0), 1.0])[:3].round(3).tolist()
    diameter_mm = float(ball_diameter_mm(len(voxels), float(np.prod(mask.spacing_mm))))
    targets = {**row, "listed_diameter_mm": listed_mm}
    nodule = Nodule(
        NODULE, (x_mm, y_mm, z_mm), round(diameter_mm, 3), source="readers", targets=targets
    )
    return Case(
        case,
        patient,
        folder / f"{case}_ct.nii.gz",
        "labelled",
        mask=folder / f"{case}_mask.nii.gz",
        cohort="lidc",
        nodules=(nodule,),
    )


def pathology(folder: Path) -> pd.DataFrame:
    """Return the diagnoses that are certain for the nodule, and not for its patient alone."""
    table = pd.read_csv(folder / "pathology.csv", dtype=str)
    table = table[table["certain"] == "1"]
    return pd.DataFrame(
        {
            "case": table["case"],
            "nodule": NODULE,
            "diagnosis": table["diagnosis"],
            "malignant": (table["diagnosis"] != "benign").astype(int),
            "method": table["method"],
            "source": "pathology",
        }
    )


def main() -> None:
    """Write the three tables."""
    out = Path(sys.argv[1])
    folder = Path(os.environ["SEMILUNG_DATA"]).resolve() / "nodule_vois"
    index = pd.read_csv(folder / "index.csv", dtype=str, keep_default_na=False)
    out.mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(index.columns, row, strict=True)) for row in index.to_numpy().tolist()]
    cases = [voi_case(folder, row) for row in rows]
    write_manifest(out / "manifest.csv", cases)
    write_csv(out / "pathology.csv", pathology(folder))
    print(f"{len(cases)} cases in {out / 'manifest.csv'}")


if __name__ == "__main__":
    main()
