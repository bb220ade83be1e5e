"""From a manifest of scans to batches: manifest, volumes, cache, sampling, augmentation.

Names that need torch are imported on first access, so that tables and volumes stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from semilung.data.cache.open_cohort import Cohort, open_cohort
from semilung.data.cache.prepare import cached, prepare
from semilung.data.cache.prepared_case import PreparedCase
from semilung.data.data_config import AugmentConfig, DataConfig
from semilung.data.io.grid import Grid
from semilung.data.io.resample import resample_onto
from semilung.data.io.same_grid import same_grid
from semilung.data.io.volume import Volume, read_grid, read_volume, to_ras, write_volume
from semilung.data.loading.intensity import scale_hu
from semilung.data.manifest.cases import Case, ManifestIssue, read_manifest
from semilung.data.manifest.check_manifest import check_manifest, examine_manifest
from semilung.data.manifest.nodules import Nodule
from semilung.data.manifest.splits import (
    Splits,
    apply_label_budget,
    assign_splits,
    keep_healthy,
    read_splits,
)
from semilung.data.manifest.write_manifest import write_manifest

if TYPE_CHECKING:
    from semilung.data.loading.augment import Views
    from semilung.data.loading.loader import StepDataset, bag_label, build_loader

_NEEDS_TORCH = {
    "StepDataset": "loading.loader",
    "Views": "loading.augment",
    "bag_label": "loading.loader",
    "build_loader": "loading.loader",
}

__all__ = [
    "AugmentConfig",
    "Case",
    "Cohort",
    "DataConfig",
    "Grid",
    "ManifestIssue",
    "Nodule",
    "PreparedCase",
    "Splits",
    "StepDataset",
    "Views",
    "Volume",
    "apply_label_budget",
    "assign_splits",
    "bag_label",
    "build_loader",
    "cached",
    "check_manifest",
    "examine_manifest",
    "keep_healthy",
    "open_cohort",
    "prepare",
    "read_grid",
    "read_manifest",
    "read_splits",
    "read_volume",
    "resample_onto",
    "same_grid",
    "scale_hu",
    "to_ras",
    "write_manifest",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        return getattr(import_module(f"semilung.data.{_NEEDS_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
