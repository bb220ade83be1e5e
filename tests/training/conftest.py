"""Small trainings on the tiny phantom."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tiny_runs import tiny_config

from semilung.training import TrainConfig


@pytest.fixture(scope="session")
def tiny(phantom: Path) -> Callable[..., TrainConfig]:
    """`tiny_config` on the shared phantom."""
    return partial(tiny_config, phantom)
