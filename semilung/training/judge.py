"""Judging runs: their predictions on cases, the tables of it, and the audits that belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semilung.data import Case, prepare
from semilung.evaluation import Report, evaluate_cases, write_report
from semilung.training.apply import alike
from semilung.training.audits import audit_evaluation
from semilung.training.build import load_predictor
from semilung.training.config import TrainConfig


def judge(
    runs: Sequence[Path],
    configs: Sequence[TrainConfig],
    cases: Sequence[Case],
    out: Path,
    *,
    what: str,
    checkpoint: str = "last",
    empty: str = "semilung",
    manifest: Path | None = None,
    progress: bool = False,
) -> Report:
    """Predict cases with the mean of some runs, write tables and overlays, and audit the runs.

    Args:
        runs: Run folders; their probabilities are averaged.
        configs: Their configs, which must prepare scans alike.
        cases: Labelled and healthy ones, which no run has trained on.
        out: Folder of `cases.csv`, `lesions.csv`, `summary.csv`, `summary.md` and `overlays/`.
        what: What the cases are called: `val`, `test` or `manifest`.
        checkpoint: `last` or `best`.
        empty: Convention for empty masks that is shown beside ours.
        manifest: Where the first run's own manifest is now, if it has moved.
        progress: Show a progress bar on standard error.

    Raises:
        UserError: A checkpoint, a case or the disk is at fault, or the runs do not fit together.
    """
    config = alike(configs)
    judged = prepare(cases, config.data)
    report = evaluate_cases(
        [load_predictor(run, checkpoint) for run in runs],
        judged,
        window_hu=config.data.window_hu,
        config=config.inference,
        pictures=out / "overlays",
        progress=progress,
    )
    write_report(report, out, empty=empty)
    for run, own in zip(runs, configs, strict=True):
        moved = manifest if run == runs[0] else None
        audit_evaluation(run, own, judged, what=what, manifest=moved)
    return report
