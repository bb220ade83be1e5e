"""Hard negatives: where in healthy training scans the present net sees nodules.

Healthy scans hold no nodule, so the voxels with the highest probability there are the false
positives of a net, or will be the next ones. At intervals some scans are predicted whole, and crops
of the healthy stream are then drawn around these voxels (`data.hard_negatives`), as in the
bootstrapping of Sung and Poggio (1998).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semilung.data import PreparedCase
from semilung.data.loading.loader import HardNegatives
from semilung.data.loading.sampling import draw
from semilung.inference import Predictor
from semilung.inference.outputs import Activation, stride_of
from semilung.runs.train_config import TrainConfig
from semilung.tasks import Task, heads_of_tasks
from semilung.training.ranks import Team

SCANS = 8
"""Scans of one search; the next one goes on with the next ones."""

VOXELS = 16
"""Hard negatives of a scan and head."""

BLOCK = 16
"""Edge in image voxels of the blocks of which each gives one voxel, so that they are apart."""


def search_hard_negatives(
    net: nn.Module,
    cases: Sequence[PreparedCase],
    config: TrainConfig,
    tasks: Mapping[str, Task],
    team: Team,
    *,
    search: int,
) -> tuple[HardNegatives, float]:
    """Search hard negatives in some scans, by a net.

    Args:
        net: The present one.
        cases: Of the healthy stream.
        config: Of the training.
        tasks: Active ones that find nodules (`finding_heads`).
        team: Processes, which share the scans.
        search: Number of this search, from 0; it says which scans are due.

    Returns:
        The hard negatives of the scans that were searched, and the mean of the scans' highest
        probability.
    """
    heads = finding_heads(tasks)
    ungated = replace(config.inference, gate=0.0)  # a mask learns from its own false positives
    predictor = Predictor([net], ungated, config.data, heads)
    numbers = range(search * SCANS, search * SCANS + min(SCANS, len(cases)))
    due = sorted({draw(config.seed, "hard negatives", number, len(cases)) for number in numbers})
    with team.agreeing():
        local = {
            cases[i].name: most_probable(predictor.case_maps(cases[i]), heads, cases[i].shape)
            for i in due[team.rank :: team.size]
        }
    every = {name: result for each in team.gather(local) for name, result in each.items()}
    voxels = {name: every[name][0] for name in sorted(every)}
    return voxels, float(np.mean([every[name][1] for name in sorted(every)]))


def finding_heads(tasks: Mapping[str, Task]) -> dict[str, Activation]:
    """Return the heads whose first channel is a probability of nodule.

    They are those of tasks with false positives; a head of another task, such as the evidence of
    characterization, says nothing of where nodules are.
    """
    return heads_of_tasks(task for task in tasks.values() if task.false_positives is not None)


def most_probable(
    maps: Mapping[str, Tensor], heads: Mapping[str, Activation], shape: Sequence[int]
) -> tuple[list[list[int]], float]:
    """Return the voxels of highest probability, one a block and `VOXELS` a head, and the highest.

    Example:
        >>> from semilung.inference.outputs import foreground_probability
        >>> probability = torch.zeros(1, 20, 8, 8)
        >>> probability[0, 3, 4, 5], probability[0, 18, 1, 1] = 0.5, 0.75
        >>> most_probable({"logits": probability}, {"logits": foreground_probability}, (20, 8, 8))
        ([[18, 1, 1], [3, 4, 5]], 0.75)
    """
    voxels, highest = [], 0.0
    for head, activation in heads.items():
        probability, stride = maps[head][0], stride_of(activation)
        values, places = F.max_pool3d(
            probability[None], BLOCK // stride, ceil_mode=True, return_indices=True
        )
        order = torch.argsort(values.flatten(), descending=True, stable=True)[:VOXELS]
        chosen = order[values.flatten()[order] > 0]  # 0 where the net does not look
        indices = np.unravel_index(places.flatten()[chosen].numpy(), probability.shape)
        image = np.stack(indices, axis=1) * stride + stride // 2
        voxels += np.minimum(image, np.array(shape) - 1).tolist()
        highest = max(highest, float(values.max()))
    return voxels, highest
