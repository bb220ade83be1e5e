"""Training: the loop, its log and its audits."""

from semilung.runs.train_config import OptimConfig, TrainConfig, TrainerConfig
from semilung.training.build import build_learner
from semilung.training.loop import Outcome, step_seconds, train
from semilung.training.processes import first_rank_output, launcher_settings
from semilung.training.ranks import ReportedError

__all__ = [
    "OptimConfig",
    "Outcome",
    "ReportedError",
    "TrainConfig",
    "TrainerConfig",
    "build_learner",
    "first_rank_output",
    "launcher_settings",
    "step_seconds",
    "train",
]
