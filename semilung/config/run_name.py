"""Names and folders of runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from semilung.arm_names import BASELINE, mixture_name
from semilung.config.schema import CommandConfig
from semilung.files import absolute_path
from semilung.nested import leaves, plain
from semilung.runs.train_config import RESUMABLE, TrainConfig
from semilung.tasks import base_strategies, build_tasks
from semilung.types import UserError


def run_folder(command: CommandConfig, name: str) -> Path:
    """Return the folder of a run within `runs_dir`.

    Args:
        command: Names where runs are kept.
        name: Name of the run.

    Raises:
        UserError: It is no name: too long for a file system, with control characters, absolute,
            `.` or with `..`.
    """
    path = Path(name)
    elsewhere = path.is_absolute() or not path.parts or ".." in path.parts
    if elsewhere or not name.isprintable() or any(len(p.encode()) > 200 for p in path.parts):
        msg = (
            f"run_name={name!r:.100} names no folder in runs_dir: give printable characters, at "
            f"most 200 bytes between slashes, no '..' and no absolute path"
        )
        raise UserError(msg)
    absolute_path(command.runs_dir, "runs_dir")
    return Path(command.runs_dir).expanduser() / name


def run_name(config: TrainConfig) -> str:
    """Return strategies, seed and a hash of everything that shapes the result.

    A training of base strategies alone is named after its tasks where none is segmentation.

    Example:
        >>> run_name(TrainConfig(strategies={"mean_teacher": {}}, seed=1)).rsplit("-", 1)[0]
        'mean_teacher-s1'
        >>> run_name(TrainConfig(tasks={"characterization": {}})).rsplit("-", 1)[0]
        'characterization-s0'
        >>> run_name(TrainConfig()).rsplit("-", 1)[0]
        'supervised-s0'
    """
    values = {k: v for k, v in leaves(plain(asdict(config))).items() if k not in RESUMABLE}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    return f"{_arm(config)}-s{config.seed}-{digest}"


def _arm(config: TrainConfig) -> str:
    name = mixture_name(config.strategies, bases=base_strategies())
    bases = [task.base for task in build_tasks(config.tasks).values()]
    return name if name != BASELINE or BASELINE in bases else "+".join(config.tasks)
