"""The config of an exported net: all settings that prediction needs, read in distrust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from semilung.files import read_json
from semilung.inference import InferenceConfig
from semilung.models import models
from semilung.runs.config_values import build_settings, config_from_values
from semilung.runs.run_folder import RunFolder
from semilung.runs.train_config import TrainConfig
from semilung.tasks import tasks
from semilung.types import UserError

CONFIG = "config.json"
FORMAT = 1
PREPARATION = ("spacing_mm", "clip_hu", "crop_to_lungs", "lung_margin_mm", "window_hu")
"""Settings of `data` that prediction reads."""

INFERENCE = tuple(setting.name for setting in fields(InferenceConfig))


@dataclass(frozen=True)
class Provenance:
    """Where weights come from: folder name of the run, checkpoint, net in it, training steps."""

    run: str = ""
    checkpoint: str = "last"
    net: str = "student"
    steps: int = 0


@dataclass
class ExportedConfig:
    """Content of `config.json`.

    Attributes:
        format: Version of this layout.
        semilung: Version that wrote it.
        packages: Packages besides semilung that bring the model or the tasks, with versions.
        provenance: See `Provenance`.
        model: As in `SavedNet`.
        heads: As in `SavedNet`.
        logits: As in `SavedNet`.
        tasks: Task name to its options.
        data: Settings of `PREPARATION`.
        inference: All settings of `InferenceConfig`.
        dtype: Of the weights in the file, `float32` or `float16`.
        sha256: Of the file of weights.
    """

    format: int = FORMAT
    semilung: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    model: dict[str, Any] = field(default_factory=dict)
    heads: dict[str, int | tuple[int, int]] = field(default_factory=dict)
    logits: bool = True
    tasks: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    inference: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    sha256: str = ""


def is_export(path: Path) -> bool:
    """Return whether a folder holds an exported net, and not a run."""
    return (path / CONFIG).is_file() and not RunFolder(path).config.exists()


def read_exported_config(folder: Path) -> tuple[ExportedConfig, TrainConfig]:
    """Return the content of an export's config, and the config that prediction uses.

    Raises:
        UserError: The file is damaged, of another format, lacks or has unknown settings, or needs
            a package that is not installed.
    """
    path = folder / CONFIG
    values = read_json(path)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(
            f"{path} is no export of format {FORMAT} of semilung; give the folder that `semilung "
            f"export --to safetensors` wrote, or export the run again"
        )
    try:
        _require_keys("", values, [f.name for f in fields(ExportedConfig)])
        stored = build_settings(ExportedConfig, values)
        _require_keys("data.", stored.data, PREPARATION)
        _require_keys("inference.", stored.inference, INFERENCE)
        _require_registered(stored)
        groups = ("model", "tasks", "data", "inference")
        config = config_from_values(TrainConfig, {name: values[name] for name in groups})
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return stored, config


def _require_registered(stored: ExportedConfig) -> None:
    """Raise UserError where the model or a task is of a package that is not installed."""
    unknown = [name for name in stored.tasks if name not in tasks]
    unknown += [name for name in [str(stored.model.get("name"))] if name not in models]
    if unknown and stored.packages:
        packages = ", ".join(
            f"{name} {release}".strip() for name, release in stored.packages.items()
        )
        raise UserError(
            f"{', '.join(unknown)[:100]} is of a package that is not installed here, one of "
            f"{packages[:200]}; install it"
        )


def _require_keys(
    prefix: str, values: Mapping[str, Any], names: tuple[str, ...] | list[str]
) -> None:
    """Raise UserError for a missing setting: a default in its place would change predictions."""
    if missing := [prefix + name for name in names if name not in values]:
        raise UserError(f"lacks {', '.join(missing)}; export the run again")
    if unknown := [f"{prefix}{name}" for name in values if name not in names]:
        raise UserError(f"has unknown settings: {', '.join(unknown)[:200]}; export the run again")
