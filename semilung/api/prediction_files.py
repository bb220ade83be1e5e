"""The files of a prediction, each by the writer of its kind."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from semilung.csv_tables import write_csv
from semilung.data import write_volume
from semilung.data.io.dicom.series import open_series
from semilung.data.io.dicom.series_path import folder_and_series
from semilung.evaluation.overlay import png_bytes
from semilung.files import write_bytes
from semilung.inference.output_files import DICOM, FORMATS, JSON, MASK, PAGE, TABLE, output
from semilung.suggestions import require_choice
from semilung.tasks import Output
from semilung.types import UserError
from semilung.writers.dicom_seg import require_highdicom, write_dicom_seg
from semilung.writers.finding_pictures import finding_pictures
from semilung.writers.findings_json import write_findings_json
from semilung.writers.frames import LPS, in_frame
from semilung.writers.scan_page import write_scan_page
from semilung.writers.scan_result import ScanResult

if TYPE_CHECKING:
    from semilung.api.prediction import Prediction


def require_format(format_: str, scans: Sequence[Path | None]) -> None:
    """Check that the masks of scans can be written in a format.

    Args:
        format_: One of `FORMATS`.
        scans: Files, or folders of DICOM slices; None for an array.

    Raises:
        UserError: The format is unknown, or is DICOM and a scan is none, or highdicom is missing.
    """
    require_choice("format", format_, FORMATS)
    if format_ != DICOM:
        return
    others = [scan for scan in scans if scan is None or not folder_and_series(scan)[0].is_dir()]
    if others:
        raise UserError(
            f"{others[0] or 'the array'}: a DICOM SEG (--format {DICOM}) refers to the slices of a "
            f"DICOM series and is filed under its patient, and this is none; choose another "
            f"format: {', '.join(FORMATS[:-1])}"
        )
    require_highdicom()


def write_files(
    prediction: Prediction,
    outputs: Mapping[str, Output],
    out: Path,
    name: str,
    kinds: Sequence[str],
    format_: str,
    *,
    frame: str = LPS,
) -> list[Path]:
    """Write the files of a scan, that of the first kind last: if it exists, all of them do.

    Args:
        prediction: Of the scan.
        outputs: Its outputs, by kind.
        out: Folder of the files.
        name: Of the scan there.
        kinds: From `written_kinds`.
        format_: Of the volumes.
        frame: Of the coordinates of findings, one of `FRAMES`.

    Returns:
        The files written, in the order of the kinds.
    """
    written = []
    mask = output(out, name, MASK, format_) if MASK in kinds else None
    for kind in reversed(kinds):
        path = output(out, name, kind, format_)
        if kind == JSON:
            _write_json(path, prediction, mask, frame)
        elif kind == PAGE:
            _write_page(path, prediction, frame)
        elif format_ == DICOM and kind == MASK:
            if not _write_seg(path, prediction):
                continue
        else:
            _write(path, outputs[kind], prediction.scan, frame if kind == TABLE else LPS)
        written.append(path)
    return written[::-1]


def _write(path: Path, content: Output, scan: Path | None, frame: str) -> None:
    if isinstance(content, pd.DataFrame):
        write_csv(path, in_frame(content, frame))
    else:
        write_volume(path, content.data, content.affine, like=scan)


def _write_json(path: Path, prediction: Prediction, mask: Path | None, frame: str) -> None:
    labelled = mask is not None and mask.suffix == f".{DICOM}"
    if labelled and prediction.segments.empty:
        mask = None
    write_findings_json(
        path,
        _result(prediction, labelled=False, frame=frame),
        mask=None if mask is None else mask.name,
        labelled=labelled and not prediction.centres,
    )


def _write_page(path: Path, prediction: Prediction, frame: str) -> None:
    """Write the page, and its pictures as files of a folder of their own."""
    labelled = MASK in prediction.outputs and not prediction.centres
    result = _result(prediction, labelled=labelled, frame=frame)
    pictures = [png_bytes(picture) for picture in finding_pictures(result)]
    folder = path.with_name(f"{path.stem}_pictures")
    for stale in folder.glob("finding_*.png"):
        stale.unlink()
    for number, picture in zip(result.findings["label"], pictures, strict=False):
        write_bytes(folder / f"finding_{number:02d}.png", picture)
    write_scan_page(path, result, pictures)


def _write_seg(path: Path, prediction: Prediction) -> bool:
    """Write the DICOM SEG if there is a component: a SEG holds one segment at least."""
    segments = prediction.segments
    if segments.empty:
        with suppress(OSError):
            path.unlink(missing_ok=True)  # an earlier one, which is replaced
        warnings.warn(
            "a scan without findings gets no DICOM SEG, which must hold a segment; its "
            "findings.csv and findings.json say so",
            stacklevel=2,
        )
        return False
    assert prediction.scan is not None, "checked by require_format"
    slices = open_series(prediction.scan, prediction.series).files
    result = replace(_result(prediction, labelled=True), findings=segments)
    write_dicom_seg(path, result, slices)
    return True


def _result(prediction: Prediction, *, labelled: bool, frame: str = LPS) -> ScanResult:
    return ScanResult(
        prediction.name,
        prediction.volume,
        prediction.findings,
        prediction.labels if labelled else None,
        prediction.run,
        prediction.threshold if MASK in prediction.outputs else None,
        prediction.centres,
        prediction.min_probability,
        frame,
        prediction.descriptions,
    )
