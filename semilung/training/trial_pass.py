"""A pass of the model before the first step: what would fail hours later fails in seconds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from semilung.exhaustion import explain_memory_errors
from semilung.inference.net_ensemble import WindowNets, evaluating
from semilung.inference.outputs import Activation
from semilung.runs.train_config import TrainConfig
from semilung.strategies import Learner
from semilung.tasks import Task, heads_of_tasks
from semilung.types import UserError


def try_sizes(learner: Learner, config: TrainConfig, tasks: Mapping[str, Task]) -> None:
    """Run the model once on an empty crop, and on an empty window of inference if there is one.

    Crops are trained on as they are; windows are padded to what the model divides (`WindowNets`).

    Raises:
        UserError: The model fails on one of them, or there is not enough memory for the window.
    """
    crop, name = config.data.crop, config.model["name"]
    heads = heads_of_tasks(tasks.values())
    multiple = _multiple(learner, crop, config, heads, "data.crop")
    if multiple > 1:
        larger = [n + -n % multiple for n in crop]
        raise UserError(
            f"the model {name} takes crops of sizes that {multiple} divides, found "
            f"data.crop={list(crop)}; choose data.crop={larger}, for example"
        )
    if (window := config.inference.window) is not None:
        with explain_memory_errors("a smaller inference.window"):
            _multiple(learner, window, config, heads, "inference.window")


def _multiple(
    learner: Learner,
    size: tuple[int, int, int],
    config: TrainConfig,
    heads: Mapping[str, Activation],
    setting: str,
) -> int:
    """What `WindowNets` pads a size to a multiple of, for the net that predicts."""
    net = learner.predictor
    nets = WindowNets([net], outputs=heads, precision=config.inference.precision)
    try:
        with evaluating([net]), torch.no_grad():
            nets(np.zeros((1, 1, *size), np.float32))
    except UserError as error:
        raise UserError(f"{setting}={list(size)}, model {config.model['name']}: {error}") from error
    return nets.multiple
