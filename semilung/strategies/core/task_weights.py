"""Weights of tasks that are learned with the network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from semilung.strategies.core.strategy import Term


class TaskWeights(nn.Module):
    r"""Uncertainty weighting: a learned log variance s of each task weighs its supervised terms.

    $$ L = \sum_t \left( e^{-s_t} L_t + s_t \right) + L_{other} $$

    L_t is the weighted sum of the terms of the task's base strategy; terms of other strategies keep
    their weights. The factors are those of a regression's likelihood times 2; for a classification
    the paper has s/2, which would halve the weights that are learned. A weight tends to 1 / L_t, so
    tasks count equally, whatever the size of their losses. It starts at 1.

    Args:
        tasks: Base strategy to task.

    Source: Kendall et al., Multi-task learning using uncertainty to weigh losses for scene geometry
    and semantics, CVPR 2018.

    Example:
        >>> weights = TaskWeights({"supervised": "segmentation"})
        >>> terms = {"supervised/labelled": Term(torch.tensor(2.0)), "a/b": Term(torch.tensor(3.0))}
        >>> float(weights.loss(terms)), weights.by_task()["segmentation"].item()
        (5.0, 1.0)
    """

    def __init__(self, tasks: Mapping[str, str]) -> None:
        super().__init__()
        self.tasks = dict(tasks)
        self.log_variances = nn.ParameterDict(
            {task: nn.Parameter(torch.zeros(())) for task in tasks.values()}
        )

    def loss(self, terms: Mapping[str, Term]) -> Tensor:
        """Return the loss of a step, from its terms as `strategy/term`."""
        weighted = [
            self._weight(name.partition("/")[0]) * term.weight * term.value
            for name, term in terms.items()
        ]
        return torch.stack([*weighted, *self.log_variances.values()]).sum()

    def by_task(self) -> dict[str, Tensor]:
        """Return the weight of each task, without gradient."""
        return {task: (-s).exp().detach() for task, s in self.log_variances.items()}

    def _weight(self, strategy: str) -> Tensor | float:
        task = self.tasks.get(strategy)
        return 1.0 if task is None else (-self.log_variances[task]).exp()
