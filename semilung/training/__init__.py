"""Training: the loop, its checkpoints and its log, and the use of finished runs."""

from semilung.training.apply import alike, predict_files, split_cases, unseen_cases
from semilung.training.build import build_learner, load_predictor
from semilung.training.judge import judge
from semilung.training.loop import Outcome, step_seconds, train
from semilung.training.processes import launcher_words, one_voice
from semilung.training.ranks import HeardError
from semilung.training.training_config import OptimConfig, TrainConfig, TrainerConfig

__all__ = [
    "HeardError",
    "OptimConfig",
    "Outcome",
    "TrainConfig",
    "TrainerConfig",
    "alike",
    "build_learner",
    "judge",
    "launcher_words",
    "load_predictor",
    "one_voice",
    "predict_files",
    "split_cases",
    "step_seconds",
    "train",
    "unseen_cases",
]
