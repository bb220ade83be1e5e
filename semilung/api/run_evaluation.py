"""Evaluation of runs on given cases: predictions, tables, overlays, and the audits of the runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Literal

from semilung.csv_tables import write_csv
from semilung.data import Case, prepare
from semilung.evaluation import (
    Report,
    choose_threshold,
    threshold_table,
    write_report,
)
from semilung.exhaustion import explain_memory_errors
from semilung.files import require_inside
from semilung.inference import Predictor
from semilung.inference.predictor import MASK_HEAD
from semilung.runs import TrainConfig, common_preparation, load_predictor, split_cases
from semilung.tasks import CLOSE_UPS, build_tasks, evaluate_cases, heads_of_tasks
from semilung.training.audits import audit_evaluation
from semilung.types import UserError


@explain_memory_errors("a smaller inference.memory_gib, or windows of inference.window=[48,48,48]")
def evaluate_runs(
    runs: Sequence[Path],
    configs: Sequence[TrainConfig],
    cases: Sequence[Case],
    out: Path,
    *,
    what: str,
    checkpoint: str = "last",
    empty: str = "semilung",
    threshold: float | Literal["val"] | None = None,
    manifest: Path | None = None,
    progress: bool = False,
) -> Report:
    """Predict cases with the mean of some runs, write tables and overlays, and audit the runs.

    Args:
        runs: Run folders; their probabilities are averaged.
        configs: Their configs, which must prepare scans alike.
        cases: Cases that a task of the first run can evaluate, which no run has trained on.
        out: Folder of `cases.csv`, `lesions.csv`, `findings.csv` (tasks with findings),
            `summary.csv`, `summary.md` and `overlays/`.
        what: Name of the cases: `val`, `test`, or a manifest's name.
        checkpoint: `last` or `best`.
        empty: Convention for empty masks that is shown next to ours.
        threshold: Foreground above this probability; None is the first run's own. `val` takes the
            one that its validation cases choose (`choose_threshold`), of which `cases` may hold no
            nodule, and writes `threshold.csv`, the metrics at every threshold tried.
        manifest: Where the first run's own manifest is now, if it has moved.
        progress: Show progress on standard error.

    Raises:
        UserError: A checkpoint or a case cannot be read, the disk refuses, or the runs prepare
            scans differently.
    """
    config = common_preparation(configs)
    models = [load_predictor(run, checkpoint) for run in runs]
    tasks = build_tasks(config.tasks)
    heads = heads_of_tasks(tasks.values())
    predictor = Predictor(models, config.inference, config.data, heads)
    root = runs[0] if out.absolute().parent == runs[0].absolute() else out
    overlays = out / "overlays"
    require_inside((out, overlays, overlays / CLOSE_UPS), root)
    if threshold == "val":
        val = split_cases(runs, configs, "val", manifest=manifest)
        threshold = _threshold_of_val(predictor, val, cases, out)
    if threshold is not None:
        predictor = predictor.at_threshold(threshold)
    prepared = prepare(cases, config.data)
    for picture in chain(overlays.glob("*.png"), (overlays / CLOSE_UPS).glob("*.png")):  # former
        with suppress(OSError):
            picture.unlink()
    report = evaluate_cases(predictor, prepared, tasks, pictures=overlays, progress=progress)
    write_report(report, out, empty=empty)
    for run, run_config in zip(runs, configs, strict=True):
        moved = manifest if run == runs[0] else None
        audit_evaluation(run, run_config, prepared, what=what, manifest=moved)
    return report


def _threshold_of_val(
    predictor: Predictor, val: Sequence[Case], cases: Sequence[Case], out: Path
) -> float:
    """Return the threshold that validation cases choose; write all tried to `threshold.csv`."""
    if MASK_HEAD not in predictor.heads:
        raise UserError(
            "a threshold (--threshold) is one of foreground probabilities, which no task of this "
            "run predicts; leave it out"
        )
    shared = {case.case for case in val if case.role == "labelled"} & {case.case for case in cases}
    if shared:
        names = ", ".join(sorted(shared)[:5])
        raise UserError(
            f"a threshold chosen on validation cases would flatter {names}, which are among them; "
            f"evaluate on others, or give a number"
        )
    table = threshold_table(predictor, prepare(val, predictor.data))
    write_csv(out / "threshold.csv", table)
    return choose_threshold(table)
