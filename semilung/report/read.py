"""Reading run folders and sweep folders; what is not there is left out, not invented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from semilung.files import read_json, read_yaml
from semilung.naming import mixture_name
from semilung.nested import leaves
from semilung.report.study import Run, Study, blank
from semilung.training.config import RESUMABLE
from semilung.types import SPLITS, UserError

FOLDS = ("data.folds", "data.fold")
"""Folds of one cross-validation are parts of one figure, not settings to compare."""

_NOT_COMPARED = ("seed", "data.manifest", *RESUMABLE, *FOLDS)
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
        raise UserError(f"{msg}; restore it, or judge the run anew") from error


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
    asked = _mapping(folder / "sweep.yaml")
    rows = _table(folder / "results.csv")
    if rows is None or rows.empty:
        msg = f"{folder} has no finished run in results.csv; go on with its semilung ablate command"
        raise UserError(msg)
    split = split or str(asked.get("split") or rows.iloc[0].get("split") or "val")
    columns = [str(column) for column in rows.columns]
    between = columns[columns.index("seed") + 1 : columns.index("split")]
    axes = [column for column in between if column not in FOLDS]
    folders = [folder / "runs" / str(name) for name in rows["run"]]
    outside = [place for place in folders if place.parent != folder / "runs" or place.name == ".."]
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
    failures = _table(folder / "failures.csv")
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
            if key not in _NOT_COMPARED and any(value != held[0] for value in held):
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
    config = _mapping(folder / "config.yaml")
    last = _evaluation(folder, split)
    cases = _table(last / "cases.csv")
    if cases is None or cases.empty:
        msg = f"{last} holds no judged case; evaluate {folder} anew"
        raise UserError(msg)
    lesions = _table(last / "lesions.csv")
    curves = _table(folder / "metrics.csv")
    curves = pd.DataFrame(_EMPTY_CURVES, index=[]) if curves is None else curves
    best = _table(last.with_name(f"evaluation-{split}-best") / "cases.csv")
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
        cost=_json(folder / "cost.json"),
        audits=_json(folder / "audits.json"),
        provenance=_json(folder / "provenance.json"),
        overlays=last / "overlays",
        elsewhere=_elsewhere(folder),
    )


def _elsewhere(folder: Path) -> dict[str, pd.DataFrame]:
    """Judged sets of scans that are no split of the run, such as another manifest."""
    found = {}
    for place in sorted(folder.glob("evaluation-*-last")):
        name = place.name.removeprefix("evaluation-").removesuffix("-last")
        cases = None if name in SPLITS else _table(place / "cases.csv")
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
    if missing:
        commands = "\n".join(f"  semilung evaluate {folder} --split {split}" for folder in missing)
        msg = f"{len(missing)} of {len(folders)} runs were never judged on the {split} split"
        raise UserError(f"{msg}; run first:\n{commands}")


def _evaluation(folder: Path, split: str) -> Path:
    return folder / f"evaluation-{split}-last"


def _whole(value: Any) -> Any:
    """8.0 is 8: one blank cell makes a CSV's column of counts one of fractions."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _table(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        words = {"case": str, "cohort": str, "run": str, "arm": str}
        return pd.read_csv(path, dtype=words, compression=None)
    except (OSError, ValueError, MemoryError) as error:
        msg = f"{path} cannot be read as CSV: {error}"
        raise UserError(msg) from error


def _json(path: Path) -> dict[str, Any]:
    return _parsed(path, read_json)


def _mapping(path: Path) -> dict[str, Any]:
    return _parsed(path, read_yaml)


def _parsed(path: Path, read: Callable[[Path], Any]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = read(path)
    if not isinstance(found, dict):
        msg = f"{path} holds no mapping; restore the file"
        raise UserError(msg)
    return found
