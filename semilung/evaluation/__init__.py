"""Figures that a reviewer believes: per case, per lesion, and on healthy scans."""

from semilung.evaluation.baseline import Ball, best_ball, content_blind_ball
from semilung.evaluation.evaluate import Report, compare, evaluate_cases
from semilung.evaluation.healthy import FalsePositives, false_positives
from semilung.evaluation.overlay import overlay_planes, write_png
from semilung.evaluation.segmentation import (
    DETECTION_IOU,
    SIZE_BINS_MM,
    Lesion,
    dice,
    hd95_mm,
    lesions,
    surface_dice,
)
from semilung.evaluation.statistics import Interval, bootstrap_mean
from semilung.evaluation.summary import print_table, summarise, write_report

__all__ = [
    "DETECTION_IOU",
    "SIZE_BINS_MM",
    "Ball",
    "FalsePositives",
    "Interval",
    "Lesion",
    "Report",
    "best_ball",
    "bootstrap_mean",
    "compare",
    "content_blind_ball",
    "dice",
    "evaluate_cases",
    "false_positives",
    "hd95_mm",
    "lesions",
    "overlay_planes",
    "print_table",
    "summarise",
    "surface_dice",
    "write_png",
    "write_report",
]
