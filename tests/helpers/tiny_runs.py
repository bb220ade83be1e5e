"""A training that takes a second, on the tiny phantom."""

from pathlib import Path

from semilung.data import DataConfig
from semilung.inference import InferenceConfig
from semilung.training import TrainConfig, TrainerConfig


def tiny_config(manifest: Path, *, workers: int = 0, seed: int = 0, **trainer) -> TrainConfig:
    """A small training on a phantom; keywords go to the trainer's part."""
    rhythm = {"max_steps": 6, "log_every": 1, "validate_every": 3, "checkpoint_every": 2}
    return TrainConfig(
        data=DataConfig(
            manifest=str(manifest),
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
