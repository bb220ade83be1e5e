"""Scans with balls as findings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data import Volume
from semilung.inference.findings import component_findings, component_labels
from semilung.writers.scan_result import ScanResult


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> NDArray[np.bool_]:
    """Return the voxels within a radius, in voxels, of a centre."""
    offsets = np.moveaxis(np.indices(shape), 0, -1) - np.array(centre)
    return np.asarray(np.linalg.norm(offsets, axis=-1) <= radius)


def made_result(volume: Volume, probability: NDArray[Any], name: str = "scan") -> ScanResult:
    """Return the findings of a scan: the components of where a probability is above 0."""
    mask = Volume((probability > 0).astype(np.uint8), volume.affine)
    values = Volume(probability.astype(np.float32), volume.affine)
    return ScanResult(
        name,
        volume,
        component_findings(mask, values, name),
        Volume(component_labels(mask, values)[0], volume.affine),
        run="a_run",
        threshold=0.25,
    )
