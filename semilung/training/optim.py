"""Optimizer, schedule and clipping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from semilung.runs.train_config import OptimConfig

ParamGroups = list[tuple[list[nn.Parameter], float]]


def build_optimizer(
    groups: ParamGroups, config: OptimConfig, *, undecayed: Sequence[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """AdamW or SGD over the learner's groups, each keeping its learning-rate factor.

    Args:
        groups: Parameters and factors.
        config: Of the optimizer.
        undecayed: Parameters of a last group, without weight decay.
    """
    parameters: list[dict[str, Any]] = [
        {"params": parameters, "lr": config.lr * factor, "factor": factor}
        for parameters, factor in groups
    ]
    if undecayed:
        last = {"params": list(undecayed), "lr": config.lr, "factor": 1.0, "weight_decay": 0.0}
        parameters.append(last)
    if config.name == "adamw":
        betas = (config.momentum, 0.999)
        return torch.optim.AdamW(parameters, weight_decay=config.weight_decay, betas=betas)
    return torch.optim.SGD(
        parameters,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
    )


def learning_rate(progress: float, config: OptimConfig) -> float:
    r"""Rate at `progress` in [0, 1]: linear warm-up, then `poly` or `cosine` down to 0.

    With $ u = (t - w) / (1 - w) $ after the warm-up w: poly $ (1 - u)^{0.9} $, cosine
    $ \tfrac12 (1 + \cos \pi u) $, both times the peak rate.

    Example:
        >>> config = OptimConfig(lr=1.0, warmup=0.0, schedule="cosine")
        >>> [round(learning_rate(t, config), 2) for t in (0, 0.5, 1)]
        [1.0, 0.5, 0.0]
    """
    if progress < config.warmup:
        return config.lr * progress / config.warmup
    u = (progress - config.warmup) / (1 - config.warmup)
    factor = (1 - u) ** 0.9 if config.schedule == "poly" else 0.5 * (1 + math.cos(math.pi * u))
    return config.lr * factor


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group the rate times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]


def unscale(fabric: Fabric, optimizer: Any) -> None:
    """Take the loss scale of 16-bit training out of the gradients, once.

    The scaler knows an optimizer by its identity, so it must be the one inside Fabric's wrapper,
    which is what Fabric's step hands it.
    """
    fabric.strategy.precision.unscale_gradients(optimizer.optimizer)


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> list[float]:
    """Clip each group's gradient norm on its own; the norms before, the student's first."""
    return [
        float(torch.nn.utils.clip_grad_norm_(group["params"], max_norm or math.inf))
        for group in optimizer.param_groups
    ]
