"""Equality of checkpoints, bit for bit."""

from typing import Any

import torch


def same(one: Any, two: Any) -> bool:
    """Whether two checkpoints hold the same tensors and values."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two
