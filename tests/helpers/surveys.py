"""Surveys of scans, made without volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from semilung.data.content.voxel_checks import Issue
from semilung.data.io.dicom.scanner_tags import ScannerTags
from semilung.data.manifest.cases import Case
from semilung.data.manifest.check_manifest import CheckedCase
from semilung.report.cohort.scan_survey import HU_EDGES, LungSurvey, ScanSurvey

SIDES: dict[str, Any] = dict.fromkeys(("left-right", "front-back", "head-feet"), "as stated")


def survey(
    name: str, role: Any = "labelled", *, patient: str = "", issue: str = "", **changes: Any
):
    """Return the survey of a usual chest with some attributes changed."""
    case = Case(name, patient or name, Path(f"{name}.nii.gz"), role, cohort="")
    checked = CheckedCase(2, case)
    if issue:
        checked.issues.append(("image", Issue("warning", issue)))
    usual = {
        "shape": (300, 260, 150),
        "spacing_mm": (0.8, 0.8, 2.0),
        "scanner": ScannerTags(),
        "is_hu": True,
        "shares": np.full(len(HU_EDGES) - 1, 0.01),
        "lungs": lungs(),
    }
    return ScanSurvey(checked, **{**usual, **changes})


def lungs(*, volume_ml: float = 4500.0, cut: tuple[str, ...] = (), **sides: str) -> LungSurvey:
    """Return usual lungs with some attributes changed; `left_right` names a side."""
    named = {name.replace("_", "-"): side for name, side in sides.items()}
    shares = np.full(len(HU_EDGES) - 1, 0.01)
    return LungSurvey(volume_ml, list(cut), {**SIDES, **named}, shares)
