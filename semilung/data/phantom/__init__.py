"""Procedural chest CTs with nodules and full truth: the toolkit's embedded data.

Everything is drawn; no patient's data is in it. For trying, teaching and testing; metrics on it say
nothing about real scans.
"""

from semilung.data.anatomy.classes import ANATOMY
from semilung.data.phantom.cohort_plan import DRAWING
from semilung.data.phantom.nodules import Nodule, sample_diameters_mm
from semilung.data.phantom.phantom_cohort import write_phantom
from semilung.data.phantom.scan import Scan, draw_scan

__all__ = [
    "ANATOMY",
    "DRAWING",
    "Nodule",
    "Scan",
    "draw_scan",
    "sample_diameters_mm",
    "write_phantom",
]
