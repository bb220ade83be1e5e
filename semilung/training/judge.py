"""Judging runs: their predictions on cases, the tables of it, and the audits that belong to it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from semilung.csv_tables import write_csv
from semilung.data import Case, prepare
from semilung.evaluation import (
    Report,
    choose_threshold,
    evaluate_cases,
    threshold_table,
    write_report,
)
from semilung.files import require_inside
from semilung.inference import InferenceConfig
from semilung.training.apply import alike, split_cases
from semilung.training.audits import audit_evaluation
from semilung.training.build import load_predictor
from semilung.training.error_messages import told_of_memory
from semilung.training.training_config import TrainConfig
from semilung.types import UserError


@told_of_memory("a smaller inference.window or inference.batch_size")
def judge(
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
        cases: Labelled and healthy ones, which no run has trained on.
        out: Folder of `cases.csv`, `lesions.csv`, `summary.csv`, `summary.md` and `overlays/`.
        what: What the cases are called: `val`, `test`, or a manifest's name.
        checkpoint: `last` or `best`.
        empty: Convention for empty masks that is shown beside ours.
        threshold: Foreground above this probability; None is the first run's own. `val` takes the
            one that its validation cases choose (`choose_threshold`), of which `cases` may hold no
            nodule, and writes `threshold.csv`, the figures at all that were tried.
        manifest: Where the first run's own manifest is now, if it has moved.
        progress: Show a progress bar on standard error.

    Raises:
        UserError: A checkpoint, a case or the disk is at fault, or the runs do not fit together.
    """
    config = alike(configs)
    models = [load_predictor(run, checkpoint) for run in runs]
    if threshold == "val":
        val = split_cases(runs, configs, "val", manifest=manifest)
        threshold = _chosen_on_val(models, config, val, cases, out)
    inference = config.inference
    if threshold is not None:
        inference = replace(inference, threshold=threshold)
    root = runs[0] if out.absolute().parent == runs[0].absolute() else out
    require_inside((out, out / "overlays"), root)
    judged = prepare(cases, config.data)
    for picture in (out / "overlays").glob("*.png"):  # of an earlier judgement
        with suppress(OSError):
            picture.unlink()
    report = evaluate_cases(
        models,
        judged,
        window_hu=config.data.window_hu,
        config=inference,
        pictures=out / "overlays",
        progress=progress,
    )
    write_report(report, out, empty=empty)
    for run, own in zip(runs, configs, strict=True):
        moved = manifest if run == runs[0] else None
        audit_evaluation(run, own, judged, what=what, manifest=moved)
    return report


def differing(
    own: InferenceConfig, asked: InferenceConfig, threshold: float | Literal["val"] | None
) -> dict[str, Any]:
    """What an evaluation asks for that changes figures, and is not the run's own.

    Example:
        >>> differing(InferenceConfig(), InferenceConfig(batch_size=1, overlap=0.25), "val")
        {'overlap': 0.25, 'threshold': 'val'}
    """
    wanted = asdict(asked) | ({} if threshold is None else {"threshold": threshold})
    del wanted["batch_size"]  # of windows, which shapes no figure
    return {name: value for name, value in wanted.items() if value != getattr(own, name)}


def evaluation_folder(
    what: str, checkpoint: str, *, runs: int = 1, changed: Mapping[str, Any] | None = None
) -> str:
    """Name of the folder of an evaluation, within the first run's.

    A report shows `evaluation-<what>-<checkpoint>` as the run's own figures, so whatever else was
    asked for has a name of its own.

    Example:
        >>> evaluation_folder("test", "last", runs=2, changed={"threshold": 0.9})
        'evaluation-test-last-2_runs-threshold_0.9'
    """
    marks = [f"{runs}_runs"] if runs > 1 else []
    marks += [f"{name}_{value}" for name, value in (changed or {}).items()]
    return "-".join(["evaluation", what, checkpoint, *(_safe(mark) for mark in marks)])


def manifest_name(manifest: Path) -> str:
    """What the cases of a manifest are called in names: many are called manifest.csv.

    Example:
        >>> manifest_name(Path("/data/site A/manifest.csv"))
        'site_A_manifest_022e22'
    """
    place = manifest.expanduser().resolve()
    digest = hashlib.sha256(str(place).encode()).hexdigest()[:6]
    return _safe(f"{place.parent.name}_{place.stem}_{digest}")


def _safe(name: str) -> str:
    return re.sub(r"[^\w.]+", "_", name).strip("_")


def _chosen_on_val(
    models: Sequence[nn.Module],
    config: TrainConfig,
    val: Sequence[Case],
    cases: Sequence[Case],
    out: Path,
) -> float:
    """The threshold that validation cases choose; `threshold.csv` has all tried."""
    both = {case.case for case in val if case.role == "labelled"} & {case.case for case in cases}
    if both:
        msg = f"a threshold chosen on validation cases would flatter {', '.join(sorted(both)[:5])}"
        raise UserError(f"{msg}, which are among them; judge on others, or give a number")
    table = threshold_table(
        models,
        prepare(val, config.data),
        window_hu=config.data.window_hu,
        config=config.inference,
    )
    write_csv(out / "threshold.csv", table)
    return choose_threshold(table)
