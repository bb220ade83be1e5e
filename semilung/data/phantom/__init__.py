"""Procedural chest CTs with nodules and a complete ground truth: the toolkit's embedded data.

They are synthetic and hold no patient data. For demonstration, teaching and testing; metrics on
them say nothing about real scans.
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
