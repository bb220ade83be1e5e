"""Helpers of the data tests: a small LPS grid and a manifest writer."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

SHAPE = (20, 22, 24)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
COLUMNS = ["case", "patient", "image", "role", "mask", "anatomy", "bag_label", "split"]


def write_table(path: Path, rows: list[dict], columns: list[str] | None = None) -> Path:
    """Write a manifest from dictionaries; absent keys become empty cells."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns or COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def parenchyma(shape=(51, 51, 51)):
    return np.random.default_rng(0).normal(-850, 40, shape).astype(np.float32)
