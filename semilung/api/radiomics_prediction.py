"""Predicted masks whose nodules radiomic features are computed of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semilung.api.load import LoadedRun, load
from semilung.data import Case, write_volume
from semilung.files import DiskFullError, read_json, write_text
from semilung.inference.scan_progress import ScanProgress
from semilung.radiomics.nodule_masks import PredictedMask
from semilung.types import UserError

MOST_FINDINGS = 32767
"""Largest label of a finding in its file, which is int16."""


@dataclass(frozen=True)
class MaskFiles:
    """The files of a case's predicted mask.

    Attributes:
        labels: The mask, k in the k-th finding.
        probability: JSON, the probability of each finding; written last.
    """

    labels: Path
    probability: Path


def run_record(runs: Sequence[Path], checkpoint: str, threshold: float | None) -> dict[str, Any]:
    """Return what decides a run's predictions, as plain values, for the JSON of the features."""
    return {
        "runs": [str(run.resolve()) for run in runs],
        "checkpoint": checkpoint,
        "threshold": threshold,
        "written": [_last_change(run) for run in runs],
    }


def predicted_masks(
    runs: Sequence[Path],
    cases: Sequence[Case],
    folder: Path,
    *,
    checkpoint: str,
    threshold: float | None,
    progress: bool,
) -> tuple[list[tuple[Case, PredictedMask]], dict[str, str]]:
    """Predict the masks that the folder lacks, one case after another.

    Args:
        runs: Run folders, whose probabilities are averaged.
        cases: To predict.
        folder: Of `<case>.nii.gz`, a label a finding, most probable first.
        checkpoint: `last` or `best`.
        threshold: Foreground above this probability; None is the run's own.
        progress: Show scans and windows on standard error.

    Returns:
        Each case with its mask, and the reason of each case that failed, by name.

    Raises:
        DiskFullError: No space is left.
        UserError: A run cannot be loaded, or predicts no mask.
    """
    files = {case.case: _files(folder, case) for case in cases}
    missing = [case for case in cases if not files[case.case].probability.exists()]
    failures: dict[str, str] = {}
    if missing:
        run = load(list(runs), checkpoint=checkpoint)
        run.predictor(threshold)  # refuses a threshold out of range
        with ScanProgress(len(missing), shown=progress) as bar:
            for case in missing:
                bar.begin(case.case)
                try:
                    _predict(run, case, files[case.case], threshold, bar)
                except DiskFullError:
                    raise
                except (UserError, OSError, MemoryError) as error:
                    failures[case.case] = str(error) or "out of memory"
    done = [case for case in cases if case.case not in failures]
    return [(case, _mask(files[case.case])) for case in done], failures


def _predict(
    run: LoadedRun, case: Case, files: MaskFiles, threshold: float | None, bar: ScanProgress
) -> None:
    """Predict a case and write its mask."""
    prediction = run.predict(case.image, name=case.case, threshold=threshold, progress=bar.windows)
    labels, table = prediction.labels, prediction.segments
    if len(table) > MOST_FINDINGS:
        raise UserError(
            f"the run predicts {len(table)} findings, the limit is {MOST_FINDINGS}; raise the "
            f"threshold (--threshold)"
        )
    write_volume(files.labels, labels.data.astype(np.int16), labels.affine, like=case.image)
    write_text(files.probability, json.dumps(table["probability"].tolist()))


def _mask(files: MaskFiles) -> PredictedMask:
    return PredictedMask(files.labels, read_json(files.probability))


def _files(folder: Path, case: Case) -> MaskFiles:
    return MaskFiles(folder / f"{case.case}.nii.gz", folder / f"{case.case}.json")


def _last_change(run: Path) -> int:
    """Return the time at which a run's files last changed, in ns; 0 if there are none."""
    times = [path.stat().st_mtime_ns for path in run.glob("**/*.pt")]
    return max(times, default=0)
