"""Predict prepared cases and evaluate the masks, per case and per lesion."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.data.cache.prepared_case import PreparedCase
from semilung.evaluation.calibration import calibration
from semilung.evaluation.case_picture import case_picture
from semilung.evaluation.false_positive_metrics import false_positives
from semilung.evaluation.overlay import write_png
from semilung.evaluation.segmentation import (
    Lesion,
    dice,
    foreground,
    hd95_mm,
    lesions,
    surface_dice,
)
from semilung.inference import Predictor
from semilung.inference.scan_progress import ScanProgress
from semilung.types import IGNORE, UserError

TOLERANCE_MM = 2.0
"""Tolerance of the surface Dice: about the slice thickness of a thin-section chest CT."""

SILENT_PICTURES = 3
"""Number of healthy scans with an overlay even if nothing is predicted, equal for every run."""

_LESION_COLUMNS = ["case", "cohort", *(field.name for field in fields(Lesion))]


@dataclass(frozen=True)
class Report:
    """Metrics of an evaluation: one row per case, and one row per reference lesion.

    `cases`: case, cohort, role, threshold, dice, hd95_mm, surface_dice_2mm, reference_volume_mm3,
    predicted_volume_mm3, fp_components, fp_volume_mm3, ece, foreground_ece, brier. `lesions`: case,
    cohort and the fields of `Lesion`. NaN means undefined. The reference volume is undefined where
    every marked voxel is ignored (255): such a scan may or may not contain a nodule, so it counts
    neither as positive nor as healthy.
    """

    cases: pd.DataFrame
    lesions: pd.DataFrame


def evaluate_cases(
    predictor: Predictor,
    cases: Sequence[PreparedCase],
    *,
    pictures: Path | None = None,
    progress: bool = False,
) -> Report:
    """Predict every case and compare the mask with its reference.

    The reference of a healthy case is empty; it needs no mask file.

    Args:
        predictor: Nets, window, threshold and smallest component.
        cases: Distinct cases of role `labelled` or `healthy`.
        pictures: Folder for an overlay of each case with a lesion or a prediction, and of the
            first `SILENT_PICTURES` scans without a lesion.
        progress: Show scans and windows on standard error.

    Raises:
        UserError: There is no case, one occurs twice, or one has no reference.

    Warns:
        UserWarning: In some cases every marked voxel is ignored.
    """
    _require_references(cases)
    case_rows: list[dict[str, Any]] = []
    lesion_rows: list[dict[str, Any]] = []
    healthy = 0
    bar = ScanProgress(len(cases), shown=progress)
    for prepared in bar.each(cases, lambda case: case.name):
        spacing_mm = prepared.spacing_mm
        probability = predictor.probability(prepared, progress=bar.windows)
        prediction = predictor.decode(probability, spacing_mm)
        reference = read_reference(prepared)
        name = {"case": prepared.name, "cohort": prepared.case.cohort}
        metrics = compare(prediction, reference, spacing_mm)
        metrics |= calibration(probability, reference)._asdict()
        threshold = predictor.inference.threshold
        case_rows.append({**name, "role": prepared.case.role, "threshold": threshold, **metrics})
        lesion_rows += [
            {**name, **asdict(lesion)} for lesion in lesions(prediction, reference, spacing_mm)
        ]
        healthy += not reference.any()
        silent = not (reference.any() or prediction.any())
        if pictures is not None and (not silent or healthy <= SILENT_PICTURES):
            picture = case_picture(
                prepared.read("image"), reference=reference, prediction=prediction,
                spacing_mm=spacing_mm, window_hu=predictor.data.window_hu, title=prepared.name,
            )  # fmt: skip
            write_png(pictures / f"{prepared.name}.png", picture)
    _warn_of_ignored(case_rows)
    return Report(pd.DataFrame(case_rows), pd.DataFrame(lesion_rows, columns=_LESION_COLUMNS))


def compare(
    prediction: NDArray[Any], reference: NDArray[Any], spacing_mm: Sequence[float]
) -> dict[str, float]:
    """Return the metrics of one case's mask, by their column in a report.

    Args:
        prediction: `(X, Y, Z)`, foreground where it is not 0.
        reference: `(X, Y, Z)` 0 background, 1 to 254 lesions, 255 ignore.
        spacing_mm: Voxel size along X, Y, Z.

    Raises:
        ValueError: The shapes differ.
    """
    p, r = foreground(prediction, reference)
    voxel_mm3 = float(np.prod(spacing_mm))
    false = false_positives(prediction, spacing_mm, reference)
    undefined = not r.any() and bool((reference == IGNORE).any())
    return {
        "dice": dice(prediction, reference),
        "hd95_mm": hd95_mm(prediction, reference, spacing_mm),
        "surface_dice_2mm": surface_dice(prediction, reference, spacing_mm, TOLERANCE_MM),
        "reference_volume_mm3": math.nan if undefined else np.count_nonzero(r) * voxel_mm3,
        "predicted_volume_mm3": np.count_nonzero(p) * voxel_mm3,
        "fp_components": false.components,
        "fp_volume_mm3": false.volume_mm3,
    }


def read_reference(prepared: PreparedCase) -> NDArray[Any]:
    """Return the reference mask `(X, Y, Z)`; that of a healthy case is empty and has no file."""
    if prepared.case.role == "healthy":
        return np.zeros(prepared.shape, np.uint8)
    return prepared.read("mask")


def _warn_of_ignored(rows: Sequence[dict[str, Any]]) -> None:
    names = [str(row["case"]) for row in rows if math.isnan(row["reference_volume_mm3"])]
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        warnings.warn(
            f"every marked voxel of {', '.join(names[:5])}{more} is 255 (ignore), so these cases "
            f"count neither as scans with nodules nor as healthy ones; did you mean 1?",
            stacklevel=3,
        )


def _require_references(cases: Sequence[PreparedCase]) -> None:
    """Raise UserError unless there are cases, each occurs once, and each has a reference."""
    if not cases:
        msg = (
            "there are no cases to evaluate: the chosen split is empty; choose another one, or "
            "assign labelled or healthy cases to it in the manifest"
        )
        raise UserError(msg)
    counts = Counter(prepared.name for prepared in cases)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        msg = (
            f"these cases occur more than once: {', '.join(repeated)}; list each case once, else "
            f"it would count twice in every mean"
        )
        raise UserError(msg)
    without = [p.name for p in cases if not p.case.voxels_known]
    if without:
        msg = (
            f"only labelled cases with a mask and healthy ones can be evaluated, got others: "
            f"{', '.join(without)}; "
            f"add voxel masks and the role labelled to the manifest, or leave them out"
        )
        raise UserError(msg)
