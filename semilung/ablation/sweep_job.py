"""One run of an ablation: train or resume it, evaluate it, write its row."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from semilung.ablation.cells import Cell
from semilung.ablation.sweep_folder import SweepFolder, row_of
from semilung.api.run_evaluation import evaluate_runs
from semilung.config.hydra_adapter import DictConfig
from semilung.config.resume import resumed
from semilung.evaluation import Report, summarise
from semilung.files import write_text
from semilung.runs import (
    RunFolder,
    TrainConfig,
    evaluation_name,
    load_checkpoint,
    load_run_config,
    split_cases,
)
from semilung.runs.train_config import RESUMABLE
from semilung.training import train
from semilung.training.cost import read_cost
from semilung.types import UserError


@dataclass(frozen=True)
class Job:
    """The task that a launcher calls with the name of each run, maybe on another machine.

    Attributes:
        folder: The sweep's folder, as an absolute path.
        cells: Run name to run.
        swept: The swept settings besides strategy and seed.
        split: Split that runs are evaluated on.
        total: Runs of the whole ablation; those that `cells` lacks were finished before.
        logged: Whether the output of a training goes to `log.txt` in the run's folder, as it must
            where several run at once.
        began: When the ablation was called, in seconds of `time.time`.
        configs: Run name to its checked config: a launcher composes none anew.
    """

    folder: Path
    cells: dict[str, Cell]
    swept: list[str]
    split: str
    total: int
    logged: bool
    began: float
    configs: dict[str, TrainConfig]

    def __call__(self, composed: DictConfig) -> None:
        """Run the cell that `composed.run_name` names; a failure is written to its folder.

        Raises:
            KeyboardInterrupt: The training was interrupted, by the signal of this number; the other
                runs wait for the next call.
        """
        cell = self.cells[str(composed.run_name)]
        sweep = SweepFolder(self.folder)
        with sweep.claimed(cell) as claimed:
            if not claimed:
                self._say(cell, "is being run by another process")
            elif not sweep.finished(cell):  # another process may have been quicker
                self._run(cell, sweep)

    def _run(self, cell: Cell, sweep: SweepFolder) -> None:
        self._say(cell, "begins")
        try:
            with self._output(sweep.run(cell)):
                row = self._result(cell, self.configs[cell.name], sweep.run(cell))
        except Exception as error:
            expected = isinstance(error, UserError)
            message = str(error) if expected else repr(error)
            sweep.fail(cell, message, "" if expected else traceback.format_exc())
            self._say(cell, f"failed: {message}")
            return
        sweep.failure(cell).unlink(missing_ok=True)
        write_text(sweep.row(cell), json.dumps(row) + "\n")
        with suppress(UserError):  # another run's row is damaged; the end of the sweep reports it
            sweep.collect()

    def _result(self, cell: Cell, config: TrainConfig, run: Path) -> dict[str, Any]:
        folder = RunFolder(run)
        begun = folder.config.exists()
        if begun:
            config = resumed(load_run_config(run), config, [*cell.overrides, *RESUMABLE])
        outcome = train(config, run, resume=begun)
        if not outcome.finished:
            raise KeyboardInterrupt(outcome.signal)
        report = self._evaluate(run, config, "last")
        # none without validation cases
        if (
            folder.best.exists()
            and load_checkpoint(folder.best)["step"] != config.trainer.max_steps
        ):
            self._evaluate(run, config, "best")
        cost = read_cost(folder.cost)
        return row_of(
            cell,
            self.swept,
            split=self.split,
            steps=cost.steps,
            seconds=cost.seconds,
            peak_memory_mib=cost.peak_memory_mib,
            peak_gpu_memory_mib=cost.peak_gpu_memory_mib,
            **mean_metrics(report),
        )

    def _evaluate(self, run: Path, config: TrainConfig, checkpoint: str) -> Report:
        return evaluate_runs(
            [run],
            [config],
            split_cases([run], [config], self.split),
            run / evaluation_name(self.split, checkpoint),
            what=self.split,
            checkpoint=checkpoint,
            empty=config.evaluation.empty,
        )

    @contextmanager
    def _output(self, run: Path) -> Iterator[None]:
        """Redirect the output of a run to its own file where several run at once."""
        if not self.logged:
            yield
            return
        with (
            (run / "log.txt").open("a", encoding="utf-8") as file,
            redirect_stdout(file),
            redirect_stderr(file),
        ):
            yield

    def _say(self, cell: Cell, what: str) -> None:
        done = self.total - len(self.cells)
        number = done + list(self.cells).index(cell.name) + 1
        elapsed = timedelta(seconds=round(time.time() - self.began))
        print(f"[{number}/{self.total}] {cell.name} {what} ({elapsed} elapsed)", flush=True)  # noqa: T201


def mean_metrics(report: Report) -> dict[str, float]:
    """Return the means of an evaluation by their columns in `results.csv`."""
    names = {(m.summary_name, m.population): m.result_name for m in report.metrics}
    rows = summarise(report).to_dict("records")
    return {
        names[key]: row["mean"] for row in rows if (key := (row["metric"], row["group"])) in names
    }
