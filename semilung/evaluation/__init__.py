"""Metrics per case, per lesion and on healthy scans, and the comparison of arms."""

from semilung.evaluation.ball_baseline import Ball, best_ball, content_blind_ball
from semilung.evaluation.calibration import Calibration, calibration
from semilung.evaluation.case_evaluation import Report, compare
from semilung.evaluation.comparison import compare_arms, relative_reduction
from semilung.evaluation.empty_conventions import EMPTY_POLICIES, apply_empty_policy
from semilung.evaluation.false_positive_metrics import FalsePositives, false_positives
from semilung.evaluation.froc import Froc, luna16_froc
from semilung.evaluation.intervals import Interval, bootstrap_mean, holm, wilson
from semilung.evaluation.lesion_sizes import by_size, size_bins
from semilung.evaluation.metrics import SEGMENTATION, EmptyScores, Metric
from semilung.evaluation.operating_point import choose_threshold, threshold_table
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
from semilung.evaluation.summary_config import EvaluationConfig
from semilung.evaluation.summary_table import print_table, summarise, write_report

__all__ = [
    "DETECTION_IOU",
    "EMPTY_POLICIES",
    "SEGMENTATION",
    "SIZE_BINS_MM",
    "Ball",
    "Calibration",
    "EmptyScores",
    "EvaluationConfig",
    "FalsePositives",
    "Froc",
    "Interval",
    "Lesion",
    "Metric",
    "Report",
    "apply_empty_policy",
    "best_ball",
    "bootstrap_mean",
    "by_size",
    "calibration",
    "choose_threshold",
    "compare",
    "compare_arms",
    "content_blind_ball",
    "dice",
    "false_positives",
    "hd95_mm",
    "holm",
    "lesions",
    "luna16_froc",
    "overlay_planes",
    "print_table",
    "relative_reduction",
    "size_bins",
    "summarise",
    "surface_dice",
    "threshold_table",
    "wilson",
    "write_png",
    "write_report",
]
