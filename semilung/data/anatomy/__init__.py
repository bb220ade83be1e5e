"""Coarse anatomy labels from the CT alone, by thresholds, components and distances.

They serve the adjacency prior where no anatomy labels of healthy chests are available.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from semilung.data.anatomy.classes import ANATOMY

if TYPE_CHECKING:
    from semilung.data.anatomy.anatomy_labels import label_anatomy
    from semilung.data.anatomy.anatomy_manifest import AnatomyOutcome, add_anatomy

__all__ = ["ANATOMY", "AnatomyOutcome", "add_anatomy", "label_anatomy"]

# Imported on access: the phantom needs only the table of classes.
_MODULES = {
    "AnatomyOutcome": "anatomy_manifest",
    "add_anatomy": "anatomy_manifest",
    "label_anatomy": "anatomy_labels",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"semilung.data.anatomy.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
