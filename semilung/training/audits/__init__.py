"""Audits: checks for what can invalidate a run's metrics; the findings are in `audits.json`.

    start of training   cohort_confound, split_leakage     seconds
    in training         term_effect, at three moments      a step a term and moment
    evaluation          split_leakage_<what>, pseudo_labels (once a last checkpoint)

An audit changes nothing of what it looks at, and stops nothing.
"""

from semilung.training.audits.audit import Audit, read_audits, save_audits, warn_of
from semilung.training.audits.cohort_confound import audit_cohort_confound
from semilung.training.audits.pseudo_label_quality import audit_pseudo_labels
from semilung.training.audits.run_audits import audit_end, audit_evaluation, audit_start, gradients
from semilung.training.audits.split_leakage import audit_split_leakage
from semilung.training.audits.term_effect import audit_term_effect, is_moment, measure_gradients

__all__ = [
    "Audit",
    "audit_cohort_confound",
    "audit_end",
    "audit_evaluation",
    "audit_pseudo_labels",
    "audit_split_leakage",
    "audit_start",
    "audit_term_effect",
    "gradients",
    "is_moment",
    "measure_gradients",
    "read_audits",
    "save_audits",
    "warn_of",
]
