"""Ablations: every combination of the swept settings, trained, evaluated on the same cases."""

from semilung.ablation.sweep import FailedRunsError, ablate

__all__ = ["FailedRunsError", "ablate"]
