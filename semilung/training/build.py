"""The learner of a config."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch

from semilung.runs.checkpoint import load_checkpoint
from semilung.runs.load import (
    build_student,
    checkpoint_errors,
    checkpoint_path,
    predictor_weights,
    weights_below,
)
from semilung.runs.train_config import TrainConfig
from semilung.strategies import Learner, Predictor, build_strategy, heads_of


def build_learner(config: TrainConfig, *, start: bool = True) -> Learner:
    """Return the learner of a config, its weights drawn from the config's seed.

    Args:
        config: What to build.
        start: Whether to read `config.init`; a resumed run has weights of its own.

    Raises:
        UserError: Unknown names or options, or an `init` that does not fit the model.
    """
    named = {"supervised": {}, **config.strategies}
    torch.manual_seed(config.seed)  # a strategy may have weights of its own
    strategies = {name: build_strategy(name, options) for name, options in named.items()}
    make_student = partial(
        build_student,
        config.model,
        heads_of(strategies),
        channels_last=config.trainer.channels_last,
    )
    torch.manual_seed(config.seed)  # so that arms of a comparison start from one student
    student = make_student()
    if start and config.init is not None:
        state = load_checkpoint(checkpoint_path(config.init))
        with checkpoint_errors(config.init):
            weights = weights_below("backbone.", predictor_weights(state))
            student.backbone.load_state_dict(weights)
    return Learner(
        student,
        strategies,
        teacher_decay=config.teacher_decay,
        predictor=cast(Predictor, config.predictor),
        make_student=make_student,
    )
