from __future__ import annotations

import numpy as np
import pytest
from small_cohort import LPS, SHAPE, write_table

from semilung.data.data_config import DataConfig
from semilung.data.io.volume import write_volume


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory):
    """Ten small cases of all roles on disk, with `manifest.csv`; read-only for tests."""
    root = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(0)
    rows = []
    roles = ["labelled"] * 4 + ["unlabelled"] * 3 + ["healthy"] * 2 + ["weak"]
    for number, role in enumerate(roles):
        name = f"c{number}"
        image = rng.integers(-900, 100, SHAPE).astype(np.int16)
        write_volume(root / f"{name}.nii.gz", image, LPS)
        row = {"case": name, "patient": f"p{number}", "image": f"{name}.nii.gz", "role": role}
        if role == "labelled":
            mask = np.zeros(SHAPE, np.uint8)
            mask[3:6, 4:7, 5:8] = 1
            mask[12:15, 12:15, 12:15] = 2
            mask[0, 0, 0] = 255
            write_volume(root / f"{name}_mask.nii.gz", mask, LPS)
            row["mask"] = f"{name}_mask.nii.gz"
        if role == "unlabelled":
            row["mask"] = "poison.nii.gz"
        if role == "weak":
            row["bag_label"] = "1"
        rows.append(row | {"split": "train"})
    (root / "poison.nii.gz").write_bytes(b"cannot be read")
    write_table(root / "manifest.csv", rows)
    return root


@pytest.fixture(scope="session")
def data_config(cohort_folder):
    return DataConfig(
        manifest=str(cohort_folder / "manifest.csv"),
        cache=str(cohort_folder / "cache"),
        crop=(12, 12, 12),
        batch={"labelled": 2, "unlabelled": 2, "healthy": 1, "weak": 1},
        workers=0,
    )
