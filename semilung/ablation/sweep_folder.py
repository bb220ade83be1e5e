"""A sweep's folder: the request, its runs, and the table of their results."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import yaml

from semilung.ablation.cells import Cell
from semilung.ablation.sweep_request import Request, shaping
from semilung.csv_tables import write_csv
from semilung.files import read_json, read_yaml, write_text
from semilung.nested import fits, plain
from semilung.runs import RunFolder
from semilung.types import UserError

FAILURES = ("run", "arm", "message")


@dataclass(frozen=True)
class SweepFolder:
    """Paths within `sweeps/<name>/`.

    Each run keeps its own row (`row.json`) or the reason why it failed (`failure.json`), so that
    runs side by side never write one file; the tables are collected from these.
    """

    path: Path

    def run(self, cell: Cell) -> Path:
        """Return the folder of a run."""
        return self.path / "runs" / cell.name

    def row(self, cell: Cell) -> Path:
        """Return the file of a finished run's results; a run without it is not finished."""
        return self.run(cell) / "row.json"

    def failure(self, cell: Cell) -> Path:
        """Return the file that says why a run failed."""
        return self.run(cell) / "failure.json"

    def finished(self, cell: Cell) -> bool:
        """Whether a run has its row."""
        return self.row(cell).is_file()

    @contextmanager
    def claimed(self, cell: Cell) -> Iterator[bool]:
        """Claim a run for this process until the block ends; yield whether it was free.

        The claim is a POSIX lock: it ends with its process, however that ends, and the loader's
        processes do not inherit it.
        """
        self.run(cell).mkdir(parents=True, exist_ok=True)
        with (self.run(cell) / ".claim").open("w") as file:
            free = True
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                free = False
            except OSError:  # a file system without locks: the user has to see to that
                pass
            yield free

    def request(self) -> dict[str, Any]:
        """Return the content of `sweep.yaml`; nothing where no ablation has begun here.

        Raises:
            UserError: It is damaged.
        """
        path = self.path / "sweep.yaml"
        if not path.exists():
            return {}
        saved = read_yaml(path)
        lists = [*saved["axes"].values(), saved["common"]] if _is_sweep(saved) else [None]
        if not all(isinstance(v, list) and all(isinstance(w, str) for w in v) for v in lists):
            msg = f"{path} is damaged: it does not say what is swept; name another sweep_dir=..."
            raise UserError(msg)
        return cast("dict[str, Any]", saved)

    def joined(self, request: Request) -> Request:
        """Return a request as one of the ablation that the folder holds, if it holds any.

        Raises:
            UserError: The folder holds an ablation of other common settings, a damaged one, or a
                run.
        """
        if RunFolder(self.path).config.exists():
            raise UserError(f"{self.path} is a run's folder; name another sweep_dir=...")
        saved = self.request()
        if saved:
            request = request.along(saved["axes"])
            _require_same_settings(self.path, saved, _as_mapping(request))
        return request

    def begin(self, request: Request) -> None:
        """Write or widen `sweep.yaml` by a request that has joined."""
        saved, content = self.request(), _as_mapping(request)
        if saved:
            content = {**saved, "axes": _union(saved["axes"], content["axes"])}
        self.write(content)

    def write(self, sweep: dict[str, Any]) -> None:
        """Write `sweep.yaml`."""
        write_text(self.path / "sweep.yaml", yaml.safe_dump(plain(sweep), sort_keys=False))

    def fail(self, cell: Cell, message: str, details: str = "") -> None:
        """Write why a run failed: one line for the table, and the traceback for a developer."""
        line = " ".join(message.split())
        text = json.dumps({**dict(zip(FAILURES, (cell.name, cell.arm, line), strict=True)),
                           "details": details}, indent=1)  # fmt: skip
        write_text(self.failure(cell), text + "\n")

    def collect(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Write `results.csv` and `failures.csv` from the files of the runs; return both tables."""
        results = pd.DataFrame(self._rows("row.json"))
        failures = pd.DataFrame(self._rows("failure.json"), columns=FAILURES)
        write_csv(self.path / "results.csv", results)
        path = self.path / "failures.csv"
        if failures.empty:
            path.unlink(missing_ok=True)
        else:
            write_csv(path, failures)
        return results, failures

    def _rows(self, name: str) -> list[dict[str, Any]]:
        rows = {}
        for path in sorted((self.path / "runs").glob(f"*/{name}")):
            try:
                rows[path] = read_json(path)
            except UserError:
                if path.exists():  # else another run has just succeeded
                    raise
        damaged = [str(path) for path, row in rows.items() if not fits(row, dict[str, Any])]
        if damaged:
            raise UserError(
                f"{damaged[0]} holds no row; delete it, and the same command makes it again"
            )
        return list(rows.values())


def row_of(cell: Cell, swept: Sequence[str], **results: object) -> dict[str, Any]:
    """Return a row of `results.csv`: the run, its values of the swept settings, its results."""
    values = {key: cell.axes.get(key) for key in swept}
    return {"run": cell.name, "arm": cell.arm, "seed": int(cell.seed), **values, **results}


def _is_sweep(content: Any) -> bool:
    hints = {"axes": dict[str, Any], "common": list, "split": str, "equal": str}
    return isinstance(content, dict) and all(fits(content.get(k), h) for k, h in hints.items())


def _as_mapping(request: Request) -> dict[str, Any]:
    return {
        "axes": request.axes,
        "common": request.common,
        "split": request.split,
        "equal": request.equal,
    }


def _require_same_settings(path: Path, saved: dict[str, Any], requested: dict[str, Any]) -> None:
    """Raise UserError for runs that differ in more than the axes."""
    old, new = (
        {
            **dict(w.split("=", 1) for w in shaping(sweep["common"])),
            "split": sweep["split"],
            "equal": sweep["equal"],
        }
        | dict.fromkeys([key for key in sweep["axes"] if key not in ("strategy", "seed")], "swept")
        for sweep in (saved, requested)
    )
    differing = [
        f"{key} is {old.get(key, 'not set')} there and {new.get(key, 'not set')} here"
        for key in sorted(old | new)
        if old.get(key) != new.get(key)
    ]
    if differing:
        raise UserError(
            f"{path} holds an ablation of other settings: {'; '.join(differing[:5])}. Its runs are "
            f"not comparable with these; name another sweep_dir=..."
        )


def _union(old: dict[str, list[str]], new: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return all values of all axes, the old ones first."""
    keys: Sequence[str] = list(dict.fromkeys([*old, *new]))
    return {key: list(dict.fromkeys([*old.get(key, []), *new.get(key, [])])) for key in keys}
