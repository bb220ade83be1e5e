"""Ablations: every combination of the swept settings, trained, judged on the same cases, kept."""

from semilung.ablation.sweep import FailedRunsError, ablate

__all__ = ["FailedRunsError", "ablate"]
