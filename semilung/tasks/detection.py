"""Detection: centre, diameter and probability of each nodule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.data import Case, PreparedCase
from semilung.data.cache.prepared_case import PreparedNodule
from semilung.data.content.nodule_instances import instance_numbers
from semilung.data.io.grid import ball_voxels, voxel_of
from semilung.data.manifest.nodules import UNMEASURED_MM
from semilung.evaluation.case_evaluation import Report
from semilung.evaluation.detection_points import (
    false_positive_counts,
    nodule_rows,
    operating_points,
)
from semilung.evaluation.finding_picture import finding_picture, worst_false_positives
from semilung.evaluation.froc import FP_PER_SCAN
from semilung.evaluation.froc_shares import (
    froc_of,
    froc_shares,
    match_findings,
    threshold_at_sensitivity,
)
from semilung.evaluation.metrics import DETECTION, HEALTHY_FINDINGS
from semilung.inference import Predictor
from semilung.inference.centre_findings import Centres, centre_values, find_centres
from semilung.inference.findings import centre_table
from semilung.inference.predictor import ScanMaps
from semilung.strategies.core.centre_maps import CENTRES
from semilung.tasks.task import (
    CasePrediction,
    CloseUp,
    CurveKind,
    CurveLine,
    Evaluated,
    Output,
    Task,
    register,
)

SENSITIVITY = 0.8
"""Operating point at which false positives of healthy scans are counted."""

SHARES = {"froc_share": FP_PER_SCAN, "detected_at_1": (1.0,), "detected_at_4": (4.0,)}
"""Columns of nodules, and the false positives per scan at which each is detected or not."""

BAND_SAMPLES = 200

DRAWN = 0.5
"""Least probability of a finding in a picture."""


def _froc_line(evaluations: Sequence[Report]) -> CurveLine:
    """Return the mean FROC curve of the seeds of an arm, with a band over scans and seeds."""
    rates = np.geomspace(FP_PER_SCAN[0], FP_PER_SCAN[-1], 61)
    curves = [
        froc_of(report.cases["case"], nodule_rows(report.lesions), report.findings)
        for report in evaluations
    ]
    generator, scans = np.random.default_rng(0), len(evaluations[0].cases)
    once = np.ones(scans, np.intp)
    mean = np.mean([curve.sensitivity(once, rates) for curve in curves], axis=0)
    samples = []
    for _ in range(BAND_SAMPLES):
        weights = np.bincount(generator.integers(scans, size=scans), minlength=scans)
        chosen = generator.integers(len(curves), size=len(curves))
        samples.append(np.mean([curves[i].sensitivity(weights, rates) for i in chosen], axis=0))
    low, high = np.nanpercentile(samples, [2.5, 97.5], axis=0)
    return CurveLine(rates, mean, low, high)


FROC = CurveKind(
    name="froc",
    title="FROC",
    x_label="false positives per scan, logarithmic",
    y_label="sensitivity",
    x_ticks=FP_PER_SCAN,
    caption="Free-response ROC by the rules of LUNA16: a finding is on a nodule if it lies within "
    "its radius. The CPM is the mean sensitivity at the seven marked rates. Bands are 95 % "
    "intervals (bootstrap over scans and seeds).",
    line=_froc_line,
    points=operating_points,
)


@register("detection")
class Detection(Task):
    """Detection: centre, diameter and probability of each nodule, from centre heatmaps.

    Args:
        min_probability: Least probability of a finding, in (0, 1).
        max_findings: Findings of a scan, the most probable ones; LUNA16 evaluates 100.

    Raises:
        ValueError: An option out of range.
    """

    base, term = "centre_detection", "labelled"
    heads: ClassVar = {CENTRES: centre_values}
    metrics = DETECTION
    false_positives = HEALTHY_FINDINGS
    lesion_columns = ("instance", "nodule", "diameter_mm", "probability", "centre_error_mm",
                      "diameter_error_mm", *SHARES)  # fmt: skip
    required_columns: ClassVar = {
        "cases.csv": ("role",),
        "lesions.csv": ("nodule", "diameter_mm", "probability"),
    }
    finding_columns = ("x_mm", "y_mm", "z_mm", "diameter_mm", "probability", "nodule", "false")
    files, centres = ("findings.csv",), True
    curve = FROC

    def __init__(self, *, min_probability: float = 0.01, max_findings: int = 100) -> None:
        if not 0 < min_probability < 1 or max_findings < 1:
            raise ValueError(
                f"min_probability must be in (0, 1) and max_findings at least 1, got "
                f"{min_probability} and {max_findings}"
            )
        self.min_probability, self.max_findings = min_probability, max_findings

    def evaluates(self, case: Case) -> bool:
        """Return whether all nodules of a case are known."""
        return case.role in ("labelled", "healthy")

    def validate(self, predicted: CasePrediction) -> dict[str, Any]:
        """Return the rows of nodules and findings, from which `pool` makes the metrics."""
        evaluated = self.evaluate(predicted)
        return {
            "healthy": predicted.case.case.role == "healthy",
            "lesions": evaluated.lesions,
            "findings": evaluated.findings,
        }

    def pool(self, validated: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return CPM, and the findings of healthy scans at the operating point."""
        scores = np.array([row["probability"] for case in validated for row in case["lesions"]])
        false = [
            np.array([row["probability"] for row in case["findings"] if row["false"]])
            for case in validated
        ]
        if not len(scores):
            return {}
        threshold = threshold_at_sensitivity(scores, SENSITIVITY)
        healthy = [
            np.count_nonzero(values >= threshold)
            for case, values in zip(validated, false, strict=True)
            if case["healthy"] and not np.isnan(threshold)
        ]
        shares = froc_shares(scores, np.concatenate(false), len(validated))
        return {
            self.score.name: float(shares.mean()),
            HEALTHY_FINDINGS.name: float(np.mean(healthy)) if healthy else np.nan,
        }

    def evaluate(self, predicted: CasePrediction) -> Evaluated:
        """Return the number of findings, the nodules with the finding on each, and the findings."""
        nodules, centres = predicted.case.nodules, predicted.once(self._centres)
        centres_mm, diameters_mm = _reference(nodules, predicted.case.affine)
        ignored = np.array([nodule.ignored for nodule in nodules], bool)
        matched = match_findings(
            centres.points_mm, centres.probability, centres_mm, diameters_mm, ignored
        )
        names = np.full(len(centres.probability), "", object)
        lesions = []
        instances = instance_numbers([nodule.name for nodule in nodules])
        for instance, nodule, hit, centre in zip(
            instances, nodules, matched.hit, centres_mm, strict=True
        ):
            if nodule.ignored:
                continue
            row: dict[str, Any] = {"instance": instance, "nodule": nodule.name}
            row["diameter_mm"] = nodule.diameter_mm or np.nan  # in no bin where not measured
            row |= dict.fromkeys(("probability", "centre_error_mm", "diameter_error_mm"), np.nan)
            if hit >= 0:
                names[hit] = nodule.name
                row["probability"] = centres.probability[hit]
                row["centre_error_mm"] = float(np.linalg.norm(centres.points_mm[hit] - centre))
                if nodule.diameter_mm:
                    row["diameter_error_mm"] = abs(centres.diameter_mm[hit] - nodule.diameter_mm)
            lesions.append(row)
        points = centres.points_mm.round(3).T
        columns = (*points, centres.diameter_mm, centres.probability, names, matched.false)
        findings = [
            dict(zip(self.finding_columns, values, strict=True))
            for values in zip(*columns, strict=True)
        ]
        shown = bool(lesions) or bool((centres.probability >= DRAWN).any())
        return Evaluated({"findings": len(findings)}, lesions, shown=shown, findings=findings)

    def complete(self, report: Report) -> Report:
        """Add the nodules' shares of the CPM, and the false positives at the operating point."""
        lesions, findings, cases = report.lesions, report.findings, report.cases
        nodules = nodule_rows(lesions)
        scores = nodules["probability"].to_numpy(float)
        false = findings.loc[findings["false"].astype(bool), "probability"].to_numpy(float)
        threshold = threshold_at_sensitivity(scores, SENSITIVITY)
        shares = pd.DataFrame(
            {name: froc_shares(scores, false, len(cases), at) for name, at in SHARES.items()},
            index=nodules.index,
        )
        return replace(
            report,
            cases=cases.assign(fp_at_80=false_positive_counts(cases, findings, threshold)),
            lesions=lesions.assign(**shares.reindex(lesions.index)),
        )

    def picture(
        self, predicted: CasePrediction, *, captioned: bool = True
    ) -> NDArray[np.uint8] | None:
        """Return three planes with the balls of nodules and of probable findings."""
        case, centres = predicted.case, predicted.once(self._centres)
        shown = centres.probability >= DRAWN
        reference = _balls(case, *_reference(case.nodules, case.affine))
        balls = _balls(case, centres.points_mm[shown], centres.diameter_mm[shown])
        return predicted.overlay(reference, balls, captioned=captioned)

    def close_ups(
        self, report: Report, cases: Mapping[str, PreparedCase], window_hu: tuple[float, float]
    ) -> Iterator[CloseUp]:
        """Yield the worst false positives, those of healthy scans first."""
        worst = worst_false_positives(report.cases, report.findings)
        for index, row in zip(worst.index, worst.to_dict("records"), strict=True):
            case = cases[row["case"]]
            centre_mm = np.array([[row["x_mm"], row["y_mm"], row["z_mm"]]])
            voxel = np.rint(voxel_of(case.affine, centre_mm[0].tolist()))
            picture = finding_picture(
                case.read("image"),
                finding=_balls(case, centre_mm, np.array([row["diameter_mm"]])),
                reference=_balls(case, *_reference(case.nodules, case.affine)),
                at=np.clip(voxel, 0, np.array(case.shape) - 1).astype(int).tolist(),
                spacing_mm=case.spacing_mm,
                window_hu=window_hu,
                title=case.name,
                text=f"{row['diameter_mm']:.1f} mm, probability {row['probability']:.2f}",
            )
            yield CloseUp(index, picture)

    def outputs(self, predictor: Predictor, predicted: ScanMaps) -> dict[str, Output]:
        """Return the table of findings."""
        centres = self._find(predicted.maps, predicted.affine)
        return {"findings.csv": centre_table(centres, predicted.name)}

    def _centres(self, predicted: CasePrediction) -> Centres:
        return self._find(predicted.maps, predicted.case.affine)

    def _find(self, maps: Mapping[str, Any], affine: NDArray[np.float64]) -> Centres:
        return find_centres(
            maps[CENTRES].numpy(),
            affine,
            min_probability=self.min_probability,
            most=self.max_findings,
        )


def _reference(
    nodules: Sequence[PreparedNodule], affine: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centres (RAS+ mm) and diameters of nodules and ignored findings."""
    voxels = np.array([nodule.voxel for nodule in nodules], np.float64).reshape(-1, 3)
    diameters_mm = np.array([nodule.diameter_mm or UNMEASURED_MM for nodule in nodules])
    return voxels @ affine[:3, :3].T + affine[:3, 3], diameters_mm.astype(np.float64)


def _balls(
    case: PreparedCase, centres_mm: NDArray[np.float64], diameters_mm: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Return a mask `(X, Y, Z)` of balls."""
    mask = np.zeros(case.shape, np.uint8)
    for centre_mm, diameter_mm in zip(centres_mm, diameters_mm, strict=True):
        box, ball = ball_voxels(case.shape, case.affine, centre_mm.tolist(), diameter_mm / 2)
        mask[box][ball] = 1
    return mask
