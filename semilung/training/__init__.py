"""Training: the loop, its checkpoints and its log, and the use of finished runs."""

from semilung.training.apply import alike, predict_files, split_cases, unseen_cases
from semilung.training.build import build_learner, load_predictor
from semilung.training.config import OptimConfig, TrainConfig, TrainerConfig
from semilung.training.loop import Outcome, train

__all__ = [
    "OptimConfig",
    "Outcome",
    "TrainConfig",
    "TrainerConfig",
    "alike",
    "build_learner",
    "load_predictor",
    "predict_files",
    "split_cases",
    "train",
    "unseen_cases",
]
