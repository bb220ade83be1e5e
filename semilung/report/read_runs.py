"""Reading run folders and sweep folders; what is not there is left out, not invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from semilung.arm_names import mixture_name
from semilung.data import read_splits
from semilung.files import is_inside
from semilung.nested import leaves
from semilung.report import run_files as sources
from semilung.report.differing_settings import FOLDS, NOT_COMPARED
from semilung.report.run_files import (
    is_file,
    read_cases,
    read_costs,
    read_mapping,
    read_table,
    require_shape,
)
from semilung.report.study import Run, Study, blank
from semilung.types import EVALUATED_ROLES, SPLITS, UserError

_EMPTY_CURVES = {"step": float, "name": str, "value": float}


def read_study(folders: Sequence[Path], split: str | None = None) -> Study:
    """Read one sweep, or one or several runs.

    Args:
        folders: A sweep's folder alone, or run folders.
        split: `val` or `test`; by default what the sweep was judged on, or, of plain runs, test
            where all were judged on it, else val.

    Raises:
        UserError: A folder is neither run nor sweep, or a run has not been judged on the split.
    """
    sweeps = [folder for folder in folders if is_sweep(folder)]
    if sweeps and len(folders) > 1:
        msg = f"{sweeps[0]} is a sweep; give one sweep alone, or several run folders"
        raise UserError(msg)
    try:
        return _read_sweep(folders[0], split) if sweeps else _read_runs(folders, split)
    # a column or a key that is not there, a word where a number is
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        where = ", ".join(map(str, folders))
        msg = f"{where}: a table or config is damaged ({type(error).__name__}: {error})"
        raise UserError(f"{msg}; restore it, or evaluate the run again") from error


def is_sweep(folder: Path) -> bool:
    """Whether `semilung ablate` has made it.

    Raises:
        UserError: It is no folder, or neither a sweep nor a run.
    """
    if (folder / "config.yaml").is_file():
        return False
    if (folder / "sweep.yaml").is_file() or (folder / "results.csv").is_file():
        return True
    what = "is neither a run nor a sweep" if folder.is_dir() else "is no folder"
    msg = (
        f"{folder} {what}: a run holds config.yaml (semilung train makes it), a sweep holds "
        f"sweep.yaml and results.csv (semilung ablate makes it)"
    )
    raise UserError(msg)


def _read_sweep(folder: Path, split: str | None) -> Study:
    asked = read_mapping(folder / "sweep.yaml", folder, sources.SWEEP)
    rows = read_table(folder / "results.csv", folder, sources.RESULTS)
    if rows is None or rows.empty:
        msg = f"{folder} has no finished run in results.csv; go on with its semilung ablate command"
        raise UserError(msg)
    split = split or str(asked.get("split") or rows.iloc[0].get("split") or "val")
    if split not in SPLITS:
        msg = f"{folder} says that its runs were evaluated on {split!r}; there are val and test"
        raise UserError(f"{msg}: restore sweep.yaml, or give --split")
    columns = [str(column) for column in rows.columns]
    between = columns[columns.index("seed") + 1 : columns.index("split")]
    axes = [column for column in between if column not in FOLDS]
    folders = [folder / "runs" / str(name) for name in rows["run"]]
    outside = [
        place
        for place in folders
        if place.parent != folder / "runs"
        or place.name == ".."
        or (place.exists() and not is_inside(place, folder))
    ]
    if outside:
        raise UserError(f"{folder / 'results.csv'} names a run outside the sweep: {outside[0]}")
    _require_judged(folders, split)
    runs = []
    for row, place in zip(rows.to_dict("records"), folders, strict=True):
        run = _read_run(place, split)
        costs = ("steps", "seconds", "peak_memory_mib", "peak_gpu_memory_mib")
        known: dict[str, Any] = {k: row[k] for k in costs if k in row}
        values = {axis: _whole(row[axis]) for axis in axes}
        runs.append(
            replace(
                run,
                arm=str(row["arm"]),
                seed=int(row["seed"]),
                values=values,
                cost={**known, **run.cost},
            )
        )
    failures = read_table(folder / "failures.csv", folder, {})
    return Study(
        title=folder.resolve().name,
        split=split,
        runs=_own_options(runs),
        axes=[axis for axis in axes if _everywhere(axis, runs)],
        failures=pd.DataFrame() if failures is None else failures,
        asked=asked,
        sweep=True,
    )


def _read_runs(folders: Sequence[Path], split: str | None) -> Study:
    if split is None:
        on_test = all(_evaluation(folder, "test").is_dir() for folder in folders)
        split = "test" if on_test else "val"
    _require_judged(folders, split)
    runs = [_read_run(folder, split) for folder in folders]
    flat = [leaves(run.config) for run in runs]
    axes = _differing(runs, flat)
    runs = [
        replace(run, values={axis: config.get(axis) for axis in axes})
        for run, config in zip(runs, flat, strict=True)
    ]
    runs = _own_options(runs)
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    return Study(title=title, split=split, runs=runs, axes=list(runs[0].values))


def _differing(runs: Sequence[Run], flat: Sequence[dict[str, Any]]) -> list[str]:
    """Settings that differ between runs of one arm; what sets arms apart is the arm itself."""
    found: dict[str, None] = {}
    for arm in dict.fromkeys(run.arm for run in runs):
        own = [config for run, config in zip(runs, flat, strict=True) if run.arm == arm]
        for key in dict.fromkeys(key for config in own for key in config):
            held = [config[key] for config in own if key in config]
            # A setting that a run has not is one that came later: it is as it always was.
            if key not in NOT_COMPARED and any(value != held[0] for value in held):
                found[key] = None
    return list(found)


def _own_options(runs: Sequence[Run]) -> list[Run]:
    """An option that only some arms have becomes part of their names."""
    keys = list(runs[0].values)
    shared = [key for key in keys if _everywhere(key, runs)]
    renamed = []
    for run in runs:
        own = [k for k in keys if k not in shared and not blank(run.values[k])]
        arm = ", ".join(
            [run.arm, *(f"{k.removeprefix('strategies.')}={run.values[k]}" for k in own)]
        )
        renamed.append(replace(run, arm=arm, values={key: run.values[key] for key in shared}))
    return renamed


def _everywhere(key: str, runs: Sequence[Run]) -> bool:
    return all(not blank(run.values.get(key)) for run in runs) or not key.startswith("strategies.")


def _read_run(folder: Path, split: str) -> Run:
    config = read_mapping(folder / "config.yaml", folder, sources.CONFIG)
    last = _evaluation(folder, split)
    cases = read_cases(last / "cases.csv", folder)
    if cases is None or cases.empty:
        msg = f"{last} holds no evaluated case; evaluate {folder} again"
        raise UserError(msg)
    lesions = read_table(last / "lesions.csv", folder, sources.LESIONS)
    curves = read_table(folder / "metrics.csv", folder, sources.CURVES)
    curves = pd.DataFrame(_EMPTY_CURVES, index=[]) if curves is None else curves
    best_folder = last.with_name(f"evaluation-{split}-best")
    best = read_cases(best_folder / "cases.csv", folder)
    audits = read_mapping(folder / "audits.json", folder, {})
    for name, audit in audits.items():
        require_shape(folder / "audits.json", {name: audit}, {name: dict})
        require_shape(folder / "audits.json", audit, sources.AUDIT, f"{name}.")
    splits = folder / "splits.json"
    return Run(
        name=folder.resolve().name,
        folder=folder,
        arm=arm_name(config),
        seed=int(config.get("seed", 0)),
        values={},
        config=config,
        cases=cases,
        lesions=pd.DataFrame() if lesions is None else lesions,
        best=cases if best is None and _last_is_best(curves) else best,
        curves=curves,
        cost=read_costs(folder / "cost.json", folder),
        audits=audits,
        provenance=read_mapping(folder / "provenance.json", folder, sources.PROVENANCE),
        splits=read_splits(splits) if is_file(splits, folder) else {},
        overlays=last / "overlays",
        elsewhere=_elsewhere(folder),
    )


def _elsewhere(folder: Path) -> dict[str, pd.DataFrame]:
    """Evaluated sets of scans that are no split of the run, such as another manifest."""
    found = {}
    for place in sorted(folder.glob("evaluation-*-last")):
        name = place.name.removeprefix("evaluation-").removesuffix("-last")
        cases = None if name in SPLITS else read_cases(place / "cases.csv", folder)
        if cases is not None and len(cases):
            found[name] = cases
    return found


def arm_name(config: dict[str, Any]) -> str:
    """Strategies joined by `+`, and whether healthy scans had no part.

    Example:
        >>> arm_name({"strategies": {"supervised": {}, "mil": {}}})
        'mil'
        >>> arm_name({"strategies": {}, "data": {"batch": {"healthy": 0}}})
        'supervised, no healthy'
    """
    healthy = leaves(config).get("data.batch.healthy") != 0
    return mixture_name(config.get("strategies") or {}, healthy=healthy)


def _last_is_best(curves: pd.DataFrame) -> bool:
    """Whether the step that validation picks is the last one, so that both are one checkpoint."""
    scores = curves[curves["name"] == "val/dice"].dropna(subset="value")
    return bool(len(scores)) and scores["value"].idxmax() == scores["step"].idxmax()


def _require_judged(folders: Sequence[Path], split: str) -> None:
    for folder in folders:
        if not (folder / "config.yaml").is_file():
            msg = f"{folder} is not a run: it has no config.yaml. Give folders that train has made"
            raise UserError(msg)
    missing = [f for f in folders if not (_evaluation(f, split) / "cases.csv").is_file()]
    for folder in missing:
        _require_cases(folder, split)
    if missing:
        commands = "\n".join(f"  semilung evaluate {folder} --split {split}" for folder in missing)
        msg = f"{len(missing)} of {len(folders)} runs were never evaluated on the {split} split"
        raise UserError(f"{msg}; run first:\n{commands}")


def _require_cases(folder: Path, split: str) -> None:
    """Refuse a run that has no case to evaluate: its command would only say so."""
    path = folder / "splits.json"
    splits = read_splits(path).values() if is_file(path, folder) else ()
    if splits and not any(k["split"] == split and k["role"] in EVALUATED_ROLES for k in splits):
        msg = (
            f"{folder} has no labelled or healthy case in the {split} split, so there is nothing "
            f"to report on; name the split of such cases in the manifest and train again, or give "
            f"another --split"
        )
        raise UserError(msg)


def _evaluation(folder: Path, split: str) -> Path:
    return folder / f"evaluation-{split}-last"


def _whole(value: Any) -> Any:
    """8.0 is 8: one blank cell makes a CSV's column of counts one of fractions."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
