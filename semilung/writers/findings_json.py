"""Findings of a scan as JSON, with units and coordinate frame, next to their CSV."""

from __future__ import annotations

import json
import os
from typing import Any

import pandas as pd

from semilung import __version__
from semilung.files import write_text
from semilung.inference.findings import COORDINATES
from semilung.writers.frames import FRAME_COLUMN, FRAMES, in_frame
from semilung.writers.scan_result import NOT_A_DEVICE, ScanResult

SCHEMA, VERSION = "semilung.findings", 1
"""The first two fields of the file; the version grows when a field changes its meaning."""

_UNITS = {
    "centre_mm": "mm",
    "probability": "0 to 1, the highest of the finding's voxels",
    "diameter_mm": "mm, of the ball of equal volume",
    "volume_mm3": "mm3",
}
_UNITS_OF_CENTRES = {
    "centre_mm": "mm",
    "probability": "0 to 1, of a nodule at the centre",
    "diameter_mm": "mm, predicted",
    "volume_mm3": "mm3, of the ball of the diameter",
}


def write_findings_json(
    path: str | os.PathLike[str], result: ScanResult, *, mask: str | None, labelled: bool
) -> None:
    """Write the findings of a scan as `findings_record` describes them.

    Raises:
        UserError: The file cannot be written; an existing one is untouched.
    """
    record = findings_record(result, mask=mask, labelled=labelled)
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def findings_record(result: ScanResult, *, mask: str | None, labelled: bool) -> dict[str, Any]:
    """Return the content of the file: plain values, with nothing of the patient and no folder.

    Args:
        result: The scan's findings.
        mask: Name of the file of their mask; None without one.
        labelled: Whether the mask holds a finding's label (a DICOM SEG, as segment number) or 1.
    """
    findings = in_frame(result.findings, result.frame).drop(columns=FRAME_COLUMN, errors="ignore")
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "software": f"semilung {__version__}",
        "notice": NOT_A_DEVICE,
        "scan": result.name,
        "run": result.run or None,
        "threshold": result.threshold,
        "min_probability": result.min_probability,
        "findings_are": "predicted centres" if result.centres else "components of the mask",
        "coordinate_frame": FRAMES[result.frame],
        "units": _UNITS_OF_CENTRES if result.centres else _UNITS,
        "descriptions": dict(result.descriptions),
        "mask": mask and {"file": mask, "values": "label" if labelled else "1 in every finding"},
        "findings": [_finding(row) for row in findings.to_dict("records")],
    }


def _finding(row: dict[Any, Any]) -> dict[str, Any]:
    """Return a row, its label and centre first; values that are not available are null."""
    plain = {str(key): _plain(value) for key, value in row.items()}
    others = {key: plain[key] for key in plain if key not in ("seriesuid", "label", *COORDINATES)}
    return {"label": plain["label"], "centre_mm": [plain[key] for key in COORDINATES], **others}


def _plain(value: Any) -> Any:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
