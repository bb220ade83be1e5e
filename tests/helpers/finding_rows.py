"""Small problems of detection: marks and findings as rows, and what is counted of them."""

import pandas as pd

from semilung.evaluation import luna16_froc
from semilung.evaluation.finding_tables import ANNOTATION_COLUMNS, DETECTION_COLUMNS

NODULE = ("a", 0, 0, 0, 6)


def marks(*rows):
    return pd.DataFrame(rows, columns=list(DETECTION_COLUMNS))


def findings(*rows):
    return pd.DataFrame(rows, columns=list(ANNOTATION_COLUMNS))


def froc(detections, annotations, excluded=None, scans=("a", "b"), *, bootstrap=0, **options):
    return luna16_froc(detections, annotations, excluded, scans, bootstrap=bootstrap, **options)


def counted(result):
    """True positives, false positives, false negatives, on excluded findings, double detections."""
    return tuple(
        result.counts[name]
        for name in (
            "True positives",
            "False positives",
            "False negatives",
            "Ignored candidates on excluded nodules",
            "Ignored candidates which were double detections on a nodule",
        )
    )
