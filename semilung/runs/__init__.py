"""A finished or running training on disk: its folder, config, checkpoints, cases and lock."""

from semilung.runs.cases import split_cases, unseen_cases
from semilung.runs.checkpoint import load_checkpoint, save_checkpoint
from semilung.runs.evaluation_name import changed_settings, evaluation_name, manifest_name
from semilung.runs.leakage import Leak, find_leaks
from semilung.runs.load import checkpoint_path, load_predictor
from semilung.runs.run_config import (
    common_preparation,
    load_run_config,
    read_run_settings,
    with_available_cache,
    with_settings,
)
from semilung.runs.run_folder import RunFolder
from semilung.runs.train_config import OptimConfig, TrainConfig, TrainerConfig

__all__ = [
    "Leak",
    "OptimConfig",
    "RunFolder",
    "TrainConfig",
    "TrainerConfig",
    "changed_settings",
    "checkpoint_path",
    "common_preparation",
    "evaluation_name",
    "find_leaks",
    "load_checkpoint",
    "load_predictor",
    "load_run_config",
    "manifest_name",
    "read_run_settings",
    "save_checkpoint",
    "split_cases",
    "unseen_cases",
    "with_available_cache",
    "with_settings",
]
