"""Segmentation: a mask of nodules."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from semilung.evaluation.ball_baseline import ball_scores
from semilung.evaluation.calibration import calibration
from semilung.evaluation.case_evaluation import compare, read_reference
from semilung.evaluation.false_positive_metrics import false_positives
from semilung.evaluation.metrics import HEALTHY_FP_MM3, SEGMENTATION
from semilung.evaluation.segmentation import Lesion, dice, lesions
from semilung.inference import Predictor
from semilung.inference.findings import component_findings, probable_components
from semilung.inference.outputs import foreground_probability
from semilung.inference.predictor import MASK_HEAD, ScanMaps, foreground
from semilung.tasks.task import Baseline, CasePrediction, Evaluated, Output, Task, register


@register("segmentation")
class Segmentation(Task):
    """Segmentation: a mask of nodules, from a foreground probability and a threshold."""

    base, term = "supervised", "labelled"
    heads: ClassVar = {MASK_HEAD: foreground_probability}
    metrics = SEGMENTATION
    false_positives = HEALTHY_FP_MM3
    lesion_columns = tuple(field.name for field in fields(Lesion))
    required_columns: ClassVar = {
        "cases.csv": ("reference_volume_mm3", "predicted_volume_mm3"),
        "lesions.csv": ("diameter_mm", "detected"),
    }
    files, optional_files = ("nodules", "findings.csv"), ("probability",)
    baseline = Baseline(
        "content-blind ball",
        "one ball, with centre and radius fitted to all training masks of the manifest",
        ball_scores,
    )

    def validate(self, predicted: CasePrediction) -> dict[str, Any]:
        """Return Dice, or the false positives of a healthy scan."""
        mask = predicted.mask
        if predicted.case.case.role != "healthy":
            return {"dice": dice(mask, read_reference(predicted.case))}
        alarms = false_positives(mask, predicted.case.spacing_mm)
        return {
            "healthy_fp_components": alarms.components,
            HEALTHY_FP_MM3.name: alarms.volume_mm3,
        }

    def evaluate(self, predicted: CasePrediction) -> Evaluated:
        """Return overlap, surfaces, volumes, false positives and calibration, and all lesions."""
        spacing_mm, mask = predicted.case.spacing_mm, predicted.mask
        reference = read_reference(predicted.case)
        row = {
            "threshold": predicted.predictor.inference.threshold,
            **compare(mask, reference, spacing_mm),
            **calibration(foreground(predicted.maps), reference)._asdict(),
        }
        rows = [asdict(lesion) for lesion in lesions(mask, reference, spacing_mm)]
        return Evaluated(row, rows, shown=bool(reference.any() or mask.any()))

    def picture(self, predicted: CasePrediction, *, captioned: bool = True) -> NDArray[np.uint8]:
        """Return three planes with the outlines of reference and prediction."""
        reference = read_reference(predicted.case)
        return predicted.overlay(reference, predicted.mask, captioned=captioned)

    def outputs(self, predictor: Predictor, predicted: ScanMaps) -> dict[str, Output]:
        """Return mask and probability on the scan's own grid."""
        mask, probability = predictor.segment_scan(predicted)
        if self.min_probability:
            mask = probable_components(mask, probability, self.min_probability)
        findings = component_findings(mask, probability, predicted.name)
        return {"nodules": mask, "findings.csv": findings, "probability": probability}
