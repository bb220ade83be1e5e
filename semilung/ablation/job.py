"""One run of an ablation: train it or go on with it, judge it, write its row."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from semilung.ablation.cells import Cell
from semilung.ablation.folder import SweepFolder, row_of
from semilung.config import load_run_config, resumed, to_command, to_training, with_absolute_paths
from semilung.data import prepare
from semilung.evaluation import Report, evaluate_cases, summarise, write_report
from semilung.files import write_text
from semilung.training import TrainConfig, load_predictor, split_cases, train
from semilung.training.audits import audit_evaluation
from semilung.training.checkpoint import load_checkpoint
from semilung.training.cost import read_cost
from semilung.types import UserError


@dataclass(frozen=True)
class Job:
    """What a launcher calls with the composed config of each run; it may do so on another machine.

    Attributes:
        folder: The sweep's folder, as an absolute path.
        cells: Run name to run.
        swept: The swept settings besides strategy and seed.
        split: What runs are judged on.
    """

    folder: Path
    cells: dict[str, Cell]
    swept: list[str]
    split: str

    def __call__(self, composed: DictConfig) -> None:
        """Run the cell that `run_name` names; a failure is written down and raises nothing.

        Raises:
            KeyboardInterrupt: The training was interrupted; the other runs wait for the next call.
        """
        cell = self.cells[str(composed.run_name)]
        sweep, number = SweepFolder(self.folder), list(self.cells).index(cell.name) + 1
        print(f"[{number}/{len(self.cells)}] {cell.name}", flush=True)  # noqa: T201
        try:
            config = with_absolute_paths(to_training(to_command(composed)), None)
            row = self._found(cell, config, sweep.run(cell))
        except Exception as error:
            message = str(error) if isinstance(error, UserError) else repr(error)
            details = "" if isinstance(error, UserError) else traceback.format_exc()
            write_text(sweep.failure(cell), f"{' '.join(message.split())}\n{details}")
            print(f"failed: {message}", flush=True)  # noqa: T201
            return
        write_text(sweep.row(cell), json.dumps(row) + "\n")
        sweep.failure(cell).unlink(missing_ok=True)

    def _found(self, cell: Cell, config: TrainConfig, run: Path) -> dict[str, Any]:
        begun = (run / "config.yaml").exists()
        if begun:
            config = resumed(load_run_config(run), config, cell.overrides)
        if not train(config, run, resume=begun).finished:
            raise KeyboardInterrupt
        report = judge(run, config, self.split, "last")
        if load_checkpoint(run / "best.pt")["step"] != config.trainer.max_steps:
            judge(run, config, self.split, "best")
        cost = read_cost(run / "cost.json")
        return row_of(
            cell,
            self.swept,
            split=self.split,
            steps=cost.steps,
            seconds=cost.seconds,
            peak_memory_mib=cost.peak_memory_mib,
            **figures(report),
        )


def judge(run: Path, config: TrainConfig, split: str, checkpoint: str) -> Report:
    """Judge a run on a split and write `evaluation-<split>-<checkpoint>` into its folder."""
    cases = prepare(split_cases([run], [config], split), config.data)
    out = run / f"evaluation-{split}-{checkpoint}"
    report = evaluate_cases(
        load_predictor(run, checkpoint),
        cases,
        window_hu=config.data.window_hu,
        config=config.inference,
        pictures=out / "overlays",
    )
    write_report(report, out, empty=config.evaluation.empty)
    audit_evaluation(run, config, cases, what=split)
    return report


def figures(report: Report) -> dict[str, float]:
    """The means of an evaluation, by name; those of healthy scans begin with `healthy_`."""
    prefix = {"positive": "", "lesions": "", "healthy": "healthy_"}
    rows = summarise(report).to_dict("records")
    return {f"{prefix[r['group']]}{r['metric']}": r["mean"] for r in rows if r["group"] in prefix}
