"""Anatomy classes, of phantoms and real chests."""

from __future__ import annotations

from types import MappingProxyType

ANATOMY = MappingProxyType(
    {
        "unlabelled": 0,
        "lung": 1,
        "airway": 2,
        "vessel": 3,
        "bone": 4,
        "soft_tissue": 5,
        "outside_air": 6,
    }
)
"""Labels of the anatomy volumes; nodules are in the masks only."""
