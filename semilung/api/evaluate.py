"""`semilung evaluate`: metrics of runs on a split or on another manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from semilung.api.paths import PathLike, listed
from semilung.api.run_evaluation import evaluate_runs
from semilung.evaluation import Report, summarise
from semilung.runs import (
    changed_settings,
    evaluation_name,
    load_run_config,
    manifest_name,
    split_cases,
    unseen_cases,
    with_available_cache,
    with_settings,
)
from semilung.runs.load import CHECKPOINTS
from semilung.suggestions import require_choice
from semilung.types import UserError


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        report: Tables of cases and lesions.
        summary: Mean and interval of each metric, a row each.
        folder: Where the tables and overlays are.
    """

    report: Report
    summary: pd.DataFrame
    folder: Path


def evaluate(
    runs: PathLike | Sequence[PathLike],
    *,
    split: Literal["val", "test"] | None = None,
    manifest: PathLike | None = None,
    checkpoint: str = "last",
    threshold: float | Literal["val"] | None = None,
    settings: Sequence[str] = (),
    out: PathLike | None = None,
    progress: bool = False,
) -> Evaluation:
    """Evaluate a run, or the mean of several, and write its tables and overlays.

    Args:
        runs: A run's folder, or several, which must prepare scans alike and are averaged.
        split: Split of the first run; `test` unless a manifest is given.
        manifest: Another manifest, all of whose cases are evaluated; with `split`, where the first
            run's own manifest is now.
        checkpoint: `last` or `best`.
        threshold: Foreground above this probability, in [0, 1); the first run's by default. `val`
            is the one with the best Dice on its validation cases.
        settings: `inference.key=value` and `evaluation.key=value` words in place of the first run's
            settings.
        out: Folder of the results; `evaluation-<what>-<checkpoint>` in the first run's by default,
            with the settings that differ from the run's own after it.
        progress: Show progress on standard error.

    Raises:
        UserError: A folder is no run, a checkpoint or case cannot be read, a run has trained on a
            patient of the cases, or there is no labelled or healthy case.
    """
    require_choice("split", split, (None, "val", "test"))
    require_choice("checkpoint", checkpoint, CHECKPOINTS)
    if isinstance(threshold, str) and threshold != "val":
        raise UserError(f"threshold is a number in [0, 1) or 'val', got {threshold!r}")
    folders = listed(runs, "runs")
    configs = [with_available_cache(load_run_config(folder)) for folder in folders]
    saved = configs[0].inference
    configs[0] = with_settings(configs[0], settings)  # whose settings hold for all runs
    moved = None if manifest is None else Path(manifest)
    if moved is not None and split is None:
        cases, what = unseen_cases(folders, configs, moved), manifest_name(moved)
    else:
        what = split or "test"
        cases = split_cases(folders, configs, what, manifest=moved)
    changed = changed_settings(saved, configs[0].inference, threshold)
    name = evaluation_name(what, checkpoint, runs=len(folders), changed=changed)
    folder = folders[0] / name if out is None else Path(out)
    empty = configs[0].evaluation.empty
    report = evaluate_runs(
        folders,
        configs,
        cases,
        folder,
        what=what,
        checkpoint=checkpoint,
        empty=empty,
        threshold=threshold,
        manifest=moved if split else None,
        progress=progress,
    )
    return Evaluation(report, summarise(report, empty=empty), folder)
