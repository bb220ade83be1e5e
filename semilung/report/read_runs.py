"""Reading of run folders and sweep folders; absent optional files are omitted from the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from semilung.arm_names import BASELINE, NO_HEALTHY, mixture_name
from semilung.evaluation import Metric
from semilung.files import is_inside
from semilung.nested import leaves
from semilung.report.differing_settings import FOLDS, NOT_COMPARED
from semilung.report.run_files import (
    AUDIT,
    CONFIG,
    CURVES,
    PROVENANCE,
    RESULTS,
    SWEEP,
    is_file,
    read_cases,
    read_costs,
    read_findings,
    read_lesions,
    read_mapping,
    read_table,
    require_shape,
)
from semilung.report.study import Run, Study, blank
from semilung.runs import RunFolder, read_run_settings
from semilung.tasks import DEFAULT, Task, base_strategies, build_tasks, first_score
from semilung.types import EVALUATED_ROLES, SPLITS, UserError

_EMPTY_CURVES = {"step": float, "name": str, "value": float}


def read_study(folders: Sequence[Path], split: str | None = None) -> Study:
    """Read one sweep, or one or several runs.

    Args:
        folders: A sweep's folder alone, or run folders.
        split: `val` or `test`; by default the split of the sweep, or, for single runs, test if all
            were evaluated on it, else val.

    Raises:
        UserError: A folder is neither run nor sweep, or a run was not evaluated on the split.
    """
    sweeps = [folder for folder in folders if is_sweep(folder)]
    if sweeps and len(folders) > 1:
        msg = f"{sweeps[0]} is a sweep; give one sweep alone, or several run folders"
        raise UserError(msg)
    try:
        return _read_sweep(folders[0], split) if sweeps else _read_runs(folders, split)
    # an absent column or key, or text instead of a number
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        msg = (
            f"{', '.join(map(str, folders))}: a table or config is damaged "
            f"({type(error).__name__}: {error}); restore it, or evaluate the run again"
        )
        raise UserError(msg) from error


def is_sweep(folder: Path) -> bool:
    """Return whether a folder is a sweep of `semilung ablate`, rather than a run.

    Raises:
        UserError: It does not exist, or is neither a sweep nor a run.
    """
    if RunFolder(folder).config.is_file():
        return False
    if (folder / "sweep.yaml").is_file() or (folder / "results.csv").is_file():
        return True
    if not folder.is_dir():
        msg = f"{folder} is not a folder; give a run or a sweep"
        raise UserError(msg)
    msg = (
        f"{folder} is neither a run nor a sweep: a run contains config.yaml (written by semilung "
        f"train), a sweep sweep.yaml and results.csv (written by semilung ablate)"
    )
    raise UserError(msg)


def _read_sweep(folder: Path, split: str | None) -> Study:
    request = read_mapping(folder / "sweep.yaml", folder, SWEEP)
    rows = read_table(folder / "results.csv", folder, RESULTS)
    if rows is None or rows.empty:
        msg = f"{folder} has no finished run in results.csv; continue its semilung ablate command"
        raise UserError(msg)
    split = split or str(request.get("split") or rows.iloc[0].get("split") or "val")
    if split not in SPLITS:
        msg = (
            f"{folder}: the split of the sweep is {split!r}, but must be val or test; restore "
            f"sweep.yaml, or give --split"
        )
        raise UserError(msg)
    columns = [str(column) for column in rows.columns]
    settings = columns[columns.index("seed") + 1 : columns.index("split")]
    axes = [column for column in settings if column not in FOLDS]
    rows = _ordered(rows, axes)
    folders = [folder / "runs" / str(name) for name in rows["run"]]
    outside = [
        run_folder
        for run_folder in folders
        if run_folder.parent != folder / "runs"
        or run_folder.name == ".."
        or (run_folder.exists() and not is_inside(run_folder, folder))
    ]
    if outside:
        msg = (
            f"{folder / 'results.csv'} names a run outside the sweep: {outside[0]}; move the run "
            f"into {folder / 'runs'}"
        )
        raise UserError(msg)
    _require_evaluated(folders, split)
    runs = []
    for row, run_folder in zip(rows.to_dict("records"), folders, strict=True):
        run = _read_run(run_folder, split)
        costs = ("steps", "seconds", "peak_memory_mib", "peak_gpu_memory_mib")
        cost: dict[str, Any] = {key: row[key] for key in costs if key in row}
        values = {axis: _integral(row[axis]) for axis in axes}
        runs.append(
            replace(
                run,
                arm=str(row["arm"]),
                seed=int(row["seed"]),
                values=values,
                cost={**cost, **run.cost},
            )
        )
    failures = read_table(folder / "failures.csv", folder, {})
    return Study(
        title=folder.resolve().name,
        split=split,
        runs=_with_options_in_names(runs),
        axes=[axis for axis in axes if _is_shared(axis, runs)],
        failures=pd.DataFrame() if failures is None else failures,
        request=request,
        sweep=True,
    )


def _ordered(rows: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return runs with the baselines first, and each arm's by swept numbers and seed.

    `results.csv` is in the order of the folders' names, which are of no meaning.
    """
    rank = {NO_HEALTHY: 0, BASELINE: 1}
    numbers = [axis for axis in axes if pd.api.types.is_numeric_dtype(rows[axis])]
    keys = rows[[*numbers, "seed"]].add_prefix("by ")
    keys.insert(0, "rank", rows["arm"].map(rank).fillna(2))
    keys.insert(1, "arm", pd.factorize(rows["arm"])[0])
    return rows.loc[keys.sort_values(list(keys.columns), kind="stable").index]


def _read_runs(folders: Sequence[Path], split: str | None) -> Study:
    if split is None:
        on_test = all(RunFolder(folder).evaluation("test").is_dir() for folder in folders)
        split = "test" if on_test else "val"
    _require_evaluated(folders, split)
    runs = [_read_run(folder, split) for folder in folders]
    flat = [run.settings for run in runs]
    axes = _differing(runs, flat)
    runs = [
        replace(run, values={axis: config.get(axis) for axis in axes})
        for run, config in zip(runs, flat, strict=True)
    ]
    runs = _with_options_in_names(runs)
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    return Study(title=title, split=split, runs=runs, axes=list(runs[0].values))


def _differing(runs: Sequence[Run], flat: Sequence[dict[str, Any]]) -> list[str]:
    """Return the settings that differ between runs of one arm."""
    keys: dict[str, None] = {}
    for arm in dict.fromkeys(run.arm for run in runs):
        configs = [config for run, config in zip(runs, flat, strict=True) if run.arm == arm]
        for key in dict.fromkeys(key for config in configs for key in config):
            values = [config[key] for config in configs if key in config]
            # A setting that a run lacks was added in a later version and has its default there.
            if key not in NOT_COMPARED and any(value != values[0] for value in values):
                keys[key] = None
    return list(keys)


def _with_options_in_names(runs: Sequence[Run]) -> list[Run]:
    """Move options that only some arms have from the values of their runs to their names."""
    keys = list(runs[0].values)
    shared = [key for key in keys if _is_shared(key, runs)]
    renamed = []
    for run in runs:
        options = [k for k in keys if k not in shared and not blank(run.values[k])]
        arm = ", ".join(
            [run.arm, *(f"{k.removeprefix('strategies.')}={run.values[k]}" for k in options)]
        )
        renamed.append(replace(run, arm=arm, values={key: run.values[key] for key in shared}))
    return renamed


def _is_shared(key: str, runs: Sequence[Run]) -> bool:
    return all(not blank(run.values.get(key)) for run in runs) or not key.startswith("strategies.")


def _read_run(folder: Path, split: str) -> Run:
    run = RunFolder(folder)
    config = _read_config(run)
    tasks = build_tasks(config.get("tasks") or DEFAULT)
    last = run.evaluation(split)
    cases = read_cases(last / "cases.csv", folder, tasks)
    if cases is None or cases.empty:
        msg = f"{last} contains no evaluated case; evaluate {folder} again"
        raise UserError(msg)
    lesions = read_lesions(last / "lesions.csv", folder, tasks)
    curves = read_table(run.metrics, folder, CURVES)
    curves = pd.DataFrame(_EMPTY_CURVES, index=[]) if curves is None else curves
    findings = read_findings(last / "findings.csv", folder)
    best_folder = run.evaluation(split, "best")
    best = read_cases(best_folder / "cases.csv", folder, tasks)
    best_lesions = read_lesions(best_folder / "lesions.csv", folder, tasks)
    if best is None and _last_is_best(curves, first_score(tasks)):
        best, best_lesions = cases, lesions
    audits = read_mapping(run.audits, folder, {})
    for name, audit in audits.items():
        require_shape(run.audits, {name: audit}, {name: dict})
        require_shape(run.audits, audit, AUDIT, f"{name}.")
    return Run(
        name=folder.resolve().name,
        folder=folder,
        arm=arm_name(config),
        seed=int(config.get("seed", 0)),
        values={},
        config=config,
        cases=cases,
        lesions=pd.DataFrame() if lesions is None else lesions,
        findings=pd.DataFrame() if findings is None else findings,
        best_lesions=pd.DataFrame() if best_lesions is None else best_lesions,
        best=best,
        curves=curves,
        cost=read_costs(run.cost, folder),
        audits=audits,
        provenance=read_mapping(run.provenance, folder, PROVENANCE),
        splits=run.read_splits() if is_file(run.splits, folder) else {},
        overlays=last / "overlays",
        external=_read_external(run, tasks),
        tasks=tasks,
    )


def _read_config(run: RunFolder) -> dict[str, Any]:
    """Return the settings of a run, also of another version's.

    Raises:
        UserError: The file lies outside the folder or is damaged.
    """
    is_file(run.config, run.path)
    settings = read_run_settings(run.path)
    require_shape(run.config, settings, CONFIG)
    return settings


def _read_external(run: RunFolder, tasks: Mapping[str, Task]) -> dict[str, pd.DataFrame]:
    """Return the cases of evaluated sets other than the splits of the run, by name."""
    tables = {}
    for name, folder in run.external_evaluations().items():
        cases = read_cases(folder / "cases.csv", run.path, tasks)
        if cases is not None and len(cases):
            tables[name] = cases
    return tables


def arm_name(config: dict[str, Any]) -> str:
    """Return the strategies joined by `+`, with a suffix if healthy scans were not used.

    Example:
        >>> arm_name({"strategies": {"supervised": {}, "mil": {}}})
        'mil'
        >>> arm_name({"strategies": {}, "data": {"batch": {"healthy": 0}}})
        'supervised, no healthy'
    """
    healthy = leaves(config).get("data.batch.healthy") != 0
    strategies = config.get("strategies") or {}
    return mixture_name(strategies, bases=base_strategies(), healthy=healthy)


def _last_is_best(curves: pd.DataFrame, score: Metric) -> bool:
    """Return whether the last validation has the best score, so that last and best are equal."""
    scores = curves[curves["name"] == score.validation_name].dropna(subset="value")
    gains = scores["value"].map(score.gain)
    return bool(len(scores)) and gains.idxmax() == scores["step"].idxmax()


def _require_evaluated(folders: Sequence[Path], split: str) -> None:
    for folder in folders:
        if not RunFolder(folder).config.is_file():
            msg = f"{folder} is not a run: it has no config.yaml; give folders of semilung train"
            raise UserError(msg)
    pending = [f for f in folders if not (RunFolder(f).evaluation(split) / "cases.csv").is_file()]
    for folder in pending:
        _require_cases(folder, split)
    if pending:
        commands = "\n".join(f"  semilung evaluate {folder} --split {split}" for folder in pending)
        msg = (
            f"{len(pending)} of {len(folders)} runs were not evaluated on the {split} split; run "
            f"first:\n{commands}"
        )
        raise UserError(msg)


def _require_cases(folder: Path, split: str) -> None:
    """Raise UserError if a run has no case to evaluate, so that its evaluation would fail."""
    run = RunFolder(folder)
    entries = run.read_splits().values() if is_file(run.splits, folder) else ()
    if entries and not any(e["split"] == split and e["role"] in EVALUATED_ROLES for e in entries):
        msg = (
            f"{folder} has no labelled or healthy case in the {split} split, so there is nothing "
            f"to report; assign such cases to it in the manifest and train again, or give another "
            f"--split"
        )
        raise UserError(msg)


def _integral(value: Any) -> Any:
    """Return 8.0 as 8: pandas reads a column of integers as floats if a cell is empty."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
