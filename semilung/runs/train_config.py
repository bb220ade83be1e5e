"""Training configuration, as plain dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from semilung.bounds import require_bounds
from semilung.data import AugmentConfig, DataConfig
from semilung.evaluation import EvaluationConfig
from semilung.inference import InferenceConfig
from semilung.inference.inference_config import PRECISIONS
from semilung.tasks import DEFAULT
from semilung.types import UserError

RESUMABLE = ("data.workers", "trainer.threads", "data.cache", "evaluation.empty")
"""Settings that may differ between a run and its continuation. They change no result, but for
`trainer.threads`, which changes the order of sums and with it the last bits of a float32."""

CHANGEABLE = (*RESUMABLE, "trainer.devices")
"""Settings that may differ all the same: a run goes on with as many processes as there are."""

EXTENDABLE = "trainer.max_steps"
"""The setting that may grow: the schedule then ends at the new last step."""


@dataclass
class OptimConfig:
    """Optimizer and schedule.

    Attributes:
        name: `adamw` or `sgd` (Nesterov momentum).
        lr: Peak learning rate.
        weight_decay: Decoupled (AdamW) or L2 (SGD) weight decay.
        momentum: SGD's momentum, or AdamW's first beta.
        schedule: `poly` `(1 - t)^0.9` or `cosine` `(1 + cos(pi t)) / 2`, after the warm-up.
        warmup: Share of the training with a linearly growing rate.
        clip_norm: Largest gradient norm of each parameter group; 0 does not clip.
        task_weights: `fixed`, or `uncertainty`: each of several tasks has a learned log variance s
            by which its supervised terms are weighed, `exp(-s) L + s` (Kendall et al., 2018).
        frozen: Parts of the network that keep the weights of `init`: `body` (all but the heads),
            `encoder`, or patterns of parameter names such as `backbone.down.*`.
    """

    name: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 1e-2
    momentum: float = 0.9
    schedule: str = "cosine"
    warmup: float = 0.05
    clip_norm: float = 1.0
    task_weights: str = "fixed"
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise UserError for unknown names and values out of range."""
        require_choice("optim.name", self.name, ("adamw", "sgd"))
        require_choice("optim.task_weights", self.task_weights, ("fixed", "uncertainty"))
        require_choice("optim.schedule", self.schedule, ("poly", "cosine"))
        require_bounds(self, "optim")


@dataclass
class TrainerConfig:
    """Length, device, and how often to log, validate and save.

    Attributes:
        max_steps: Optimizer steps of the whole training.
        log_every: Steps between two logged points.
        validate_every: Steps between two validations; 0 validates at the end alone.
        checkpoint_every: Steps between two checkpoints.
        mine_every: Steps between two searches for hard negatives (data.hard_negatives).
        accelerator: `cpu` or `cuda`; `auto` is `cuda` where there is one.
        devices: Number of processes on all machines together, one a device. Each draws batches of
            its own, so a step's batch is `data.batch` times as many.
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
        channels_last: Lay 3D tensors out channels last, faster on CPUs and tensor cores.
        threads: CPU threads of torch; 0 leaves torch's own choice, the number of cores. Sums are
            taken in another order with another number, so weights differ by rounding (about 1e-7
            of their size after a step) and grow apart as training goes on: give it, and not 0,
            where a run is to be repeated to the bit on another machine.
    """

    max_steps: int = 1000
    log_every: int = 20
    validate_every: int = 200
    checkpoint_every: int = 100
    mine_every: int = 500
    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    channels_last: bool = True
    threads: int = 0

    def __post_init__(self) -> None:
        """Raise UserError for unknown names and values out of range."""
        require_bounds(self, "trainer")
        require_choice("trainer.accelerator", self.accelerator, ("auto", "cpu", "cuda"))
        require_choice("trainer.precision", self.precision, tuple(PRECISIONS))


@dataclass
class TrainConfig:
    """All settings of a training, as a run's folder keeps them.

    Attributes:
        data: Cohort, cache, streams.
        augment: Views of a crop.
        model: `name` and options of the model.
        tasks: Task name to its options; the first one's score selects the best checkpoint.
        strategies: Strategy name to its options; the tasks' base strategies are always there.
        optim: Optimizer and schedule.
        trainer: Length, device, rhythm.
        inference: Sliding-window prediction.
        evaluation: How `semilung evaluate` summarises; it shapes no training.
        seed: Seed of everything: splits, budget, samples, weights.
        predictor: `auto`, `student` or `teacher`.
        teacher_decay: Decay of the teacher's moving average.
        init: A run, checkpoint or export whose predictor's weights the student starts from.
    """

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: dict[str, Any] = field(default_factory=lambda: {"name": "reversible_unet"})
    tasks: dict[str, Any] = field(default_factory=lambda: dict(DEFAULT))
    strategies: dict[str, Any] = field(default_factory=dict)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    seed: int = 0
    predictor: str = "auto"
    teacher_decay: float = 0.99
    init: str | None = None

    def __post_init__(self) -> None:
        """Raise UserError for unknown names and values out of range."""
        require_bounds(self)
        require_choice("predictor", self.predictor, ("auto", "student", "teacher"))


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise UserError unless a setting is one of its choices."""
    if value not in choices:
        raise UserError(f"{name} is one of {', '.join(choices)}; got {value!r}")
