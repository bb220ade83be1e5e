"""The findings of one scan, as writers take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from semilung.data import Volume
from semilung.writers.frames import LPS

NOT_A_DEVICE = (
    "Made by research software, which is not a medical device: not for diagnosis or treatment."
)


@dataclass(frozen=True, eq=False)
class ScanResult:
    """The findings of one scan.

    Attributes:
        name: Of the scan, as in the names of its files.
        volume: The scan in HU, on its own grid.
        findings: One row a finding: `label` (1, 2, ...), `coordX`, `coordY`, `coordZ` (centre in
            LPS+ mm), `probability`, `diameter_mm`, `volume_mm3`; further columns may follow.
        labels: `(X, Y, Z)` on the scan's grid, k in the voxels of the finding of label k, 0
            elsewhere; None where findings have no outline.
        run: Name of the run that predicted them; empty if unknown.
        threshold: Probability above which a voxel is in a finding; None if unknown.
        centres: Whether the findings are predicted centres, and not components of a mask.
        min_probability: Least probability of a finding; None if unknown.
        frame: Of the coordinates that are written, one of `FRAMES`.
        descriptions: Columns of the findings that describe them (`malignancy`), name to meaning.
    """

    name: str
    volume: Volume
    findings: pd.DataFrame
    labels: Volume | None = None
    run: str = ""
    threshold: float | None = None
    centres: bool = False
    min_probability: float | None = None
    frame: str = LPS
    descriptions: Mapping[str, str] = field(default_factory=dict)


def described(row: Mapping[Any, Any], descriptions: Mapping[str, str]) -> dict[str, str]:
    """Return the descriptions of a finding as people read them, empty where one is missing.

    Example:
        >>> described({"malignancy": 3.4211, "texture": "solid"}, {"malignancy": "", "texture": ""})
        {'malignancy': '3.42', 'texture': 'solid'}
    """
    return {name: _readable(row.get(name)) for name in descriptions}


def _readable(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
