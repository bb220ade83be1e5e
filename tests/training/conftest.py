"""Small trainings on the tiny phantom."""

from collections.abc import Callable
from pathlib import Path

import pytest

from semilung.data import DataConfig
from semilung.inference import InferenceConfig
from semilung.training import TrainConfig, TrainerConfig


@pytest.fixture(scope="session")
def tiny(phantom: Path) -> Callable[..., TrainConfig]:
    """A factory of small training configs; keywords go to the trainer's part."""

    def make(*, workers: int = 0, seed: int = 0, **trainer) -> TrainConfig:
        rhythm = {"max_steps": 6, "log_every": 1, "validate_every": 3, "checkpoint_every": 2}
        return TrainConfig(
            data=DataConfig(
                manifest=str(phantom),
                spacing_mm=(4.0, 4.0, 4.0),
                crop=(16, 16, 16),
                batch={"labelled": 2, "unlabelled": 2, "healthy": 1, "weak": 0},
                workers=workers,
            ),
            model={"name": "reversible_unet", "widths": [4, 8], "depth": 1, "dropout": 0.2},
            strategies={"supervised": {}, "mean_teacher": {}},
            trainer=TrainerConfig(accelerator="cpu", **{**rhythm, **trainer}),
            inference=InferenceConfig(window=(16, 16, 16)),
            seed=seed,
        )

    return make
