"""A sweep's folder: what was asked, its runs, and the table of what they found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from semilung.ablation.cells import Cell
from semilung.ablation.request import Request
from semilung.files import write_text
from semilung.types import UserError


@dataclass(frozen=True)
class SweepFolder:
    """Paths within `sweeps/<name>/`.

    Each run keeps its own row (`row.json`) or the reason why it failed (`failure.txt`), so that
    runs side by side never write one file; the tables are collected from these.
    """

    path: Path

    def run(self, cell: Cell) -> Path:
        """The folder of a run."""
        return self.path / "runs" / cell.name

    def row(self, cell: Cell) -> Path:
        """What a finished run found; a run without it is not finished."""
        return self.run(cell) / "row.json"

    def failure(self, cell: Cell) -> Path:
        """Why a run failed."""
        return self.run(cell) / "failure.txt"

    def finished(self, cell: Cell) -> bool:
        """Whether a run has its row."""
        return self.row(cell).is_file()

    def begin(self, request: Request) -> dict[str, Any]:
        """Write or widen `sweep.yaml`; what it says.

        Raises:
            UserError: The folder holds an ablation of other common settings, or a damaged one.
        """
        path = self.path / "sweep.yaml"
        asked: dict[str, Any] = {
            "axes": request.axes,
            "common": request.common,
            "split": request.split,
            "equal": request.equal,
        }
        if path.exists():
            kept = _read(path)
            differing = [key for key in ("common", "split", "equal") if kept[key] != asked[key]]
            if differing:
                told = "; ".join(f"{k}: {kept[k]} there, {asked[k]} asked for" for k in differing)
                msg = f"{self.path} holds an ablation of other settings ({told}), so its runs"
                raise UserError(f"{msg} are not to be compared. Name another with sweep_dir=...")
            asked = {**kept, "axes": _union(kept["axes"], asked["axes"])}
        self.write(asked)
        return asked

    def write(self, sweep: dict[str, Any]) -> None:
        """Write `sweep.yaml`."""
        write_text(self.path / "sweep.yaml", yaml.safe_dump(sweep, sort_keys=False))

    def collect(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Write `results.csv` and `failures.csv` from what the runs left; both tables."""
        runs = sorted((self.path / "runs").glob("*"))
        kept = [run / "row.json" for run in runs if (run / "row.json").exists()]
        rows = [json.loads(path.read_text("utf-8")) for path in kept]
        failed = [
            {"run": run.name, "message": (run / "failure.txt").read_text("utf-8").splitlines()[0]}
            for run in runs
            if (run / "failure.txt").exists()
        ]
        results, failures = pd.DataFrame(rows), pd.DataFrame(failed)
        write_text(self.path / "results.csv", results.to_csv(index=False))
        path = self.path / "failures.csv"
        if failed:
            write_text(path, failures.to_csv(index=False))
        else:
            path.unlink(missing_ok=True)
        return results, failures


def row_of(cell: Cell, swept: Sequence[str], **found: object) -> dict[str, Any]:
    """A row of `results.csv`: which run it is, its values of the swept settings, what it found."""
    values = {key: cell.axes.get(key) for key in swept}
    return {"run": cell.name, "arm": cell.arm, "seed": int(cell.seed), **values, **found}


def _read(path: Path) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        return {key: kept[key] for key in ("axes", "common", "split", "equal")} | kept
    except (OSError, yaml.YAMLError, TypeError, ValueError, KeyError) as error:
        msg = f"{path} is damaged ({error}); name another folder with sweep_dir=..."
        raise UserError(msg) from error


def _union(old: dict[str, list[str]], new: dict[str, list[str]]) -> dict[str, list[str]]:
    """All values of all axes, the old ones first."""
    keys: Sequence[str] = list(dict.fromkeys([*old, *new]))
    return {key: list(dict.fromkeys([*old.get(key, []), *new.get(key, [])])) for key in keys}
