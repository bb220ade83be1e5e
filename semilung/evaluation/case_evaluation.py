"""Run a segmenter over prepared cases and judge it, case by case and lesion by lesion."""

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
from rich.console import Console
from rich.progress import track
from torch import nn

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
from semilung.inference import InferenceConfig, cut, probability_map
from semilung.types import IGNORE, UserError

TOLERANCE_MM = 2.0
"""Of the surface Dice in a report: about the slice thickness of a thin-section chest CT."""

SILENT_PICTURES = 3
"""Healthy scans that are drawn even where nothing is marked, the same ones for every run."""

_LESION_COLUMNS = ["case", "cohort", *(field.name for field in fields(Lesion))]


@dataclass(frozen=True)
class Report:
    """What an evaluation found: one row a case, and one row a reference lesion.

    `cases`: case, cohort, role, threshold, dice, hd95_mm, surface_dice_2mm, reference_volume_mm3,
    predicted_volume_mm3, fp_components, fp_volume_mm3, ece, foreground_ece, brier. `lesions`: case,
    cohort and the fields of `Lesion`. NaN means undefined; the reference volume is, where all that
    is marked is ignored: nobody knows whether such a scan holds a nodule, so it counts neither
    among those with nodules nor among those without.
    """

    cases: pd.DataFrame
    lesions: pd.DataFrame


def evaluate_cases(
    model: nn.Module | Sequence[nn.Module],
    cases: Sequence[PreparedCase],
    *,
    window_hu: tuple[float, float],
    config: InferenceConfig,
    pictures: Path | None = None,
    progress: bool = False,
) -> Report:
    """Predict every case by sliding window and compare it with its reference.

    A healthy case has the empty reference; it needs no mask.

    Args:
        model: One model, or several whose probabilities are averaged; see `predict_probability`.
        cases: Of role `labelled` or `healthy`, each once.
        window_hu: HU scaled to 0 and 1.
        config: Sliding window, threshold and smallest component.
        pictures: Folder for an overlay of each case with a reference or a prediction, and of the
            first `SILENT_PICTURES` scans without a lesion, silent or not.
        progress: Show a progress bar on standard error.

    Raises:
        UserError: There is no case, one comes twice, or one has no reference.

    Warns:
        UserWarning: Of cases whose marked voxels are all ignored.
    """
    _check(cases)
    case_rows: list[dict[str, Any]] = []
    lesion_rows: list[dict[str, Any]] = []
    healthy = 0
    bar = track(cases, "Evaluating", console=Console(stderr=True), disable=not progress)
    for prepared in bar:
        hu, spacing_mm = prepared.read("image"), prepared.spacing_mm
        probability = probability_map(model, hu, config, window_hu=window_hu, lungs=prepared.lungs)
        prediction = cut(probability, config, spacing_mm=spacing_mm)
        reference = read_reference(prepared)
        name = {"case": prepared.name, "cohort": prepared.case.cohort}
        figures = compare(prediction, reference, spacing_mm)
        figures |= calibration(probability, reference)._asdict()
        row = {**name, "role": prepared.case.role, "threshold": config.threshold, **figures}
        case_rows.append(row)
        found = lesions(prediction, reference, spacing_mm)
        lesion_rows += [{**name, **asdict(lesion)} for lesion in found]
        healthy += not reference.any()
        silent = not (reference.any() or prediction.any())
        if pictures is not None and (not silent or healthy <= SILENT_PICTURES):
            picture = case_picture(
                hu, reference=reference, prediction=prediction, spacing_mm=spacing_mm,
                window_hu=window_hu, title=prepared.name,
            )  # fmt: skip
            write_png(pictures / f"{prepared.name}.png", picture)
    _warn_of_ignored(case_rows)
    return Report(pd.DataFrame(case_rows), pd.DataFrame(lesion_rows, columns=_LESION_COLUMNS))


def compare(
    prediction: NDArray[Any], reference: NDArray[Any], spacing_mm: Sequence[float]
) -> dict[str, float]:
    """The figures of one case's mask, by their column in a report.

    Args:
        prediction: `(X, Y, Z)`, foreground where it is not 0.
        reference: `(X, Y, Z)` 0 background, 1 to 254 lesions, 255 ignore.
        spacing_mm: Voxel size along X, Y, Z.

    Raises:
        ValueError: The shapes differ.
    """
    p, r = foreground(prediction, reference)
    voxel_mm3 = float(np.prod(spacing_mm))
    wrong = false_positives(prediction, spacing_mm, reference)
    unknown = not r.any() and bool((reference == IGNORE).any())
    return {
        "dice": dice(prediction, reference),
        "hd95_mm": hd95_mm(prediction, reference, spacing_mm),
        "surface_dice_2mm": surface_dice(prediction, reference, spacing_mm, TOLERANCE_MM),
        "reference_volume_mm3": math.nan if unknown else np.count_nonzero(r) * voxel_mm3,
        "predicted_volume_mm3": np.count_nonzero(p) * voxel_mm3,
        "fp_components": wrong.components,
        "fp_volume_mm3": wrong.volume_mm3,
    }


def read_reference(prepared: PreparedCase) -> NDArray[Any]:
    """The mask; that of a healthy case is empty and lies nowhere."""
    if prepared.case.role == "healthy":
        return np.zeros(prepared.shape, np.uint8)
    return prepared.read("mask")


def _warn_of_ignored(rows: Sequence[dict[str, Any]]) -> None:
    names = [str(row["case"]) for row in rows if math.isnan(row["reference_volume_mm3"])]
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        warnings.warn(
            f"all that is marked in {', '.join(names[:5])}{more} is 255 (ignore), so that it "
            f"counts neither as a scan with nodules nor as one without; did you mean 1?",
            stacklevel=3,
        )


def _check(cases: Sequence[PreparedCase]) -> None:
    if not cases:
        msg = "there are no cases to evaluate: the chosen split is empty; choose another"
        raise UserError(f"{msg}, or give it labelled or healthy cases in the manifest")
    counts = Counter(prepared.name for prepared in cases)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        msg = f"cases to evaluate must come once each, found more often: {', '.join(twice)}"
        raise UserError(f"{msg}; a case counted twice would weigh twice in every mean")
    without = [p.name for p in cases if not p.case.voxels_known]
    if without:
        msg = f"only labelled and healthy cases can be evaluated, found others: {without}"
        raise UserError(f"{msg}; give them voxel masks and the role labelled, or leave them out")
