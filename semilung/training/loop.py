"""The training loop, read top to bottom.

    cohort, learner, optimizer, loader
    audits of the data
    for step, batch in loader:                        every mine_every: hard negatives, new loader
        terms  = learner(batch, progress)             strategies give named, weighted terms
        loss   = sum of weight * value
        backward, clip, optimizer step at the scheduled rate
        learner.after_step(progress)                  teacher moves, strategies' hooks
        every log_every:        means of terms, weights, rate, waiting -> metrics.csv, TensorBoard
        at three moments:       each term's gradient -> metrics.csv
        every validate_every:   learner.after_validation(metrics); best.pt
        every checkpoint_every: last.pt, cost.json
    audit of the gradients

A step's data is a pure function of (seed, step), and so is its noise: torch's generator is seeded
anew at each step. Resuming therefore needs no state of any generator.

With several processes each does all of this on its own share of a step's data, and the `team` keeps
them together: gradients are averaged, buffers evened out, and the first one writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from semilung.data import build_loader
from semilung.exhaustion import explain_memory_errors
from semilung.runs.checkpoint import save_checkpoint
from semilung.runs.run_folder import RunFolder
from semilung.runs.train_config import TrainConfig
from semilung.signals import StopRequest
from semilung.strategies import Term
from semilung.training.audits import audit_end, audit_start, gradients, is_moment
from semilung.training.cost import CostMeter
from semilung.training.hard_negatives import search_hard_negatives
from semilung.training.loader_errors import explain_loader_errors
from semilung.training.metric_log import MetricsLog
from semilung.training.optim import clip_gradients, learning_rate, set_learning_rate, unscale
from semilung.training.processes import in_processes
from semilung.training.setup import Training, set_up
from semilung.training.training_progress import TrainingProgress
from semilung.training.validate import validate
from semilung.types import Batch, UserError

MEMORY_REMEDY = (
    "a smaller data.crop or data.batch, model.backend=fused, or fewer strategies; the last "
    "checkpoint is untouched"
)
"""Settings with which a training needs less memory."""


@dataclass
class Outcome:
    """How a training ended.

    Attributes:
        run: Its folder.
        steps: Optimizer steps done.
        finished: False after an interruption.
        metrics: The last validation's.
        signal: Number of the signal that stopped it; 0 where none did.
    """

    run: Path
    steps: int
    finished: bool
    metrics: dict[str, float]
    signal: int = 0


def train(config: TrainConfig, folder: Path, *, resume: bool = False) -> Outcome:
    """Train a config in a run's folder, or go on where the folder stopped.

    Several processes (`trainer.devices`) are started here, unless torchrun or srun has done so.

    Raises:
        UserError: Anything in config, data, checkpoint or machine that the user can fix, or a
            loss that is not finite. Checkpoints that were saved stay.
    """
    return in_processes(config.trainer.devices, _train, config, folder, resume)


@explain_memory_errors(MEMORY_REMEDY)
@explain_loader_errors()
def _train(config: TrainConfig, folder: Path, resume: bool) -> Outcome:
    training = set_up(config, RunFolder(folder), resume=resume)
    with training.lock:
        training.team.first_does(audit_start, training)
        stopped_by = _take_steps(training)
        finished = training.step == config.trainer.max_steps
        if finished:
            training.team.first_does(audit_end, training.run, training.first_task)
    return Outcome(folder, training.step, finished, training.metrics, stopped_by)


def _take_steps(training: Training) -> int:
    """Take the steps that are left, or those until a signal, whose number is returned."""
    team, trainer = training.team, training.config.trainer
    with (
        StopRequest() as stop,
        MetricsLog(training.run, step=training.step, enabled=team.is_first) as log,
        TrainingProgress(trainer.max_steps, done=training.step, shown=team.is_first) as progress,
    ):
        means, cost, stopped_by = training.means, CostMeter(training.run.cost), 0
        for batch, waited_s, began in _fed(training):
            values = _optimize(training, batch)
            training.step += 1
            step_s = time.perf_counter() - began
            means.add({**values, "time/step_s": step_s, "time/waiting_share": waited_s / step_s})
            progress.advance(step_s)
            last = training.step == trainer.max_steps
            stopped_by = team.highest(stop.number)
            if training.step % trainer.log_every == 0 or last:
                averages = team.mean(means.take())
                log.scalars(training.step, averages)
                progress.report(training.step, _brief(averages))
            if is_moment(training.step, trainer.max_steps):
                team.first_does(_log_gradients, training, batch, log)
            if last or (trainer.validate_every and training.step % trainer.validate_every == 0):
                _validate(training, log, progress)
            if training.step % trainer.checkpoint_every == 0 or last or stopped_by:
                _save(training, training.run.last)
                team.first_does(cost.write, training.step)
            if stopped_by:
                break
    return stopped_by


@explain_memory_errors(MEMORY_REMEDY)
@explain_loader_errors()
def step_seconds(config: TrainConfig, *, warm_up: int = 4, steps: int = 12) -> float:
    """Return the median seconds of an optimizer step, loading included, of a throwaway training.

    Args:
        config: The training; its validations, checkpoints and audits are left out.
        warm_up: Steps that do not count: the first ones start the loader and fill its cache.
        steps: Steps that count.

    Raises:
        UserError: As `train`.
    """
    short = replace(config, trainer=replace(config.trainer, max_steps=warm_up + steps))
    return median(in_processes(config.trainer.devices, _time_steps, short)[warm_up:])


def _time_steps(config: TrainConfig) -> list[float]:
    seconds: list[float] = []
    with TemporaryDirectory() as folder:
        training = set_up(config, RunFolder(Path(folder) / "timed"), resume=False)
        with training.lock:
            for batch, _, began in _fed(training):
                _optimize(training, batch)
                training.step += 1
                seconds.append(time.perf_counter() - began)
    return seconds


def _fed(training: Training) -> Iterator[tuple[Batch, float, float]]:
    """Yield the batches of the steps left, the seconds waited for each, and the time before it."""
    trainer, searches = training.config.trainer, training.searches
    while training.step < trainer.max_steps:
        end = trainer.max_steps
        if searches:
            end = min(end, (training.step // trainer.mine_every + 1) * trainer.mine_every)
            if training.step and training.step % trainer.mine_every == 0:
                _search(training)
        batches = iter(_loader(training, end))
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                break
            with training.team.agreeing():
                if isinstance(batch, UserError):
                    raise batch
            yield training.fabric.to_device(batch), time.perf_counter() - began, began


def _loader(training: Training, end: int) -> DataLoader[Batch | UserError]:
    """Return the loader of the steps up to `end`."""
    config, fabric = training.config, training.fabric
    return build_loader(
        training.streams,
        config.data,
        config.augment,
        seed=config.seed,
        start_step=training.step,
        max_steps=end,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        views=training.views,
        fields=training.learner.fields(),
        targets=training.learner.targets(),
        hard_negatives=training.hard_negatives,
    )


def _search(training: Training) -> None:
    """Search hard negatives in healthy scans that are due."""
    config = training.config
    voxels, highest = search_hard_negatives(
        training.learner.predictor,
        training.streams["healthy"],
        config,
        training.tasks,
        training.team,
        search=training.step // config.trainer.mine_every - 1,
    )
    training.hard_negatives.update(voxels)
    training.means.add({"hard_negatives/probability": highest})


def _optimize(training: Training, batch: Batch) -> dict[str, Tensor | float]:
    """Take one optimizer step on one batch; return its values by their logged names."""
    config, fabric, optimizer = training.config, training.fabric, training.optimizer
    progress = training.step / config.trainer.max_steps
    torch.manual_seed(_noise_seed(training))
    training.module.train()
    with training.team.agreeing():
        terms: dict[str, Term] = training.module(batch, progress)
        loss = training.learner.loss(terms)
        _require_finite(loss, terms, batch, training.step)
    weights: dict[str, Tensor | float] = {f"weights/{n}": t.weight for n, t in terms.items()}
    if (tasks := training.learner.task_weights) is not None:
        weights |= {f"weights/{task}": weight for task, weight in tasks.by_task().items()}
    optimizer.zero_grad(set_to_none=True)
    fabric.backward(loss)
    unscale(fabric, optimizer)
    norms = clip_gradients(optimizer, config.optim.clip_norm)
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    # a scaler skips such a step and lowers its scale; below 1 there is nothing left to lower
    if not all(map(math.isfinite, norms)) and (scaler is None or scaler.get_scale() < 1):
        batches = training.team.gather(_cases(batch))  # any process's crops may be behind it
        text = ", ".join(f"{norm:.4g}" for norm in norms)
        _refuse(f"the gradient's norm is {text}", batches, training.step)
    rate = learning_rate(progress, config.optim)
    set_learning_rate(optimizer, rate)
    optimizer.step()
    training.learner.after_step((training.step + 1) / config.trainer.max_steps)
    training.team.even_out(training.learner)
    values = {f"terms/{name}": term.value for name, term in terms.items()}
    return {"loss": loss, **values, **weights, "lr": rate, "gradient_norm": norms[0]}


def _require_finite(loss: Tensor, terms: dict[str, Term], batch: Batch, step: int) -> None:
    if not bool(torch.isfinite(loss)):
        invalid = [f"{n}={t.value.item()}" for n, t in terms.items() if not t.value.isfinite()]
        what = f"the loss is not finite ({', '.join(invalid) or 'in the sum of the terms'})"
        _refuse(what, [_cases(batch)], step)


def _cases(batch: Batch) -> dict[str, set[str]]:
    return {stream: set(samples["case"]) for stream, samples in batch.items()}


def _refuse(what: str, batches: list[dict[str, set[str]]], step: int) -> NoReturn:
    """Raise UserError before the weights are touched, and name the cases of the step."""
    cases = {
        stream: sorted(set().union(*(each[stream] for each in batches))) for stream in batches[0]
    }
    msg = (
        f"{what} at step {step} on the cases {cases}. The last checkpoint is untouched. Look at "
        f"these cases with `semilung data check`, or lower optim.lr"
    )
    raise UserError(msg)


def _noise_seed(training: Training) -> int:
    """Return the seed of the noise of one step of one process."""
    parts = [training.config.seed, training.step, training.fabric.global_rank]
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _log_gradients(training: Training, batch: Batch, log: MetricsLog) -> None:
    log.scalars(training.step, gradients(training, batch, _noise_seed(training)))


def _brief(values: dict[str, float]) -> dict[str, float]:
    """Return the values that a progress line has room for."""
    terms = {n.removeprefix("terms/"): v for n, v in values.items() if n.startswith("terms/")}
    return {"loss": values["loss"], **terms, "waiting": values["time/waiting_share"]}


def _validate(training: Training, log: MetricsLog, progress: TrainingProgress) -> None:
    """Evaluate the predictor on the validation cases; save the best one."""
    team, learner = training.team, training.learner
    if training.val:
        metrics, picture = validate(
            learner.predictor, training.val, training.config, training.tasks, team
        )
        training.metrics = metrics
        log.scalars(training.step, metrics)
        if picture is not None:
            log.image(training.step, "val/overlay", picture)
        progress.say(f"step {training.step}: " + _readable(metrics))
        criterion = training.first_task.score
        score = learner.score(metrics, criterion.gain(metrics[criterion.validation_name]))
        # until a score is defined (an AUC of one class is not), the last validation is the best
        if score > training.best or (math.isnan(score) and training.best == -math.inf):
            training.best = training.best if math.isnan(score) else score
            _save(training, training.run.best)
    learner.after_validation(training.metrics)


def _readable(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())


def _save(training: Training, path: Path) -> None:
    """Let the first process write all that a resumed run needs to end with the same bits."""
    learner, means = training.learner, training.team.gather(training.means.state())
    state = {
        "step": training.step,
        "best": training.best,
        "model": training.config.model,
        "heads": {name: head.plain for name, head in learner.heads.items()},
        "logits": training.logits,
        "predictor": "student" if learner.predictor is learner.student else "teacher.net",
        "learner": learner.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "precision": training.fabric.strategy.precision.state_dict(),
        "hard_negatives": training.hard_negatives,
        "means": [{name: list(pair) for name, pair in each.items()} for each in means],
    }
    training.team.first_does(save_checkpoint, path, state)
