"""Coarse anatomy from the CT alone, by thresholds, components and distances.

A prior on which tissues touch needs labels of healthy chests; these are for those who have none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from semilung.data.anatomy.classes import ANATOMY

if TYPE_CHECKING:
    from semilung.data.anatomy.anatomy_labels import label_anatomy
    from semilung.data.anatomy.anatomy_manifest import AnatomyOutcome, add_anatomy

__all__ = ["ANATOMY", "AnatomyOutcome", "add_anatomy", "label_anatomy"]

# Resolved when asked for: the phantom needs the table of classes alone.
_HOMES = {
    "AnatomyOutcome": "anatomy_manifest",
    "add_anatomy": "anatomy_manifest",
    "label_anatomy": "anatomy_labels",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"semilung.data.anatomy.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
