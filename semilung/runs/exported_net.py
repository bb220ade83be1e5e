"""Exported nets: `model.safetensors` and `config.json`, which hold all that prediction needs.

Neither file can run code. Both are read in distrust, as files from elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from semilung.files import read_json, write_bytes, write_text
from semilung.inference import InferenceConfig
from semilung.models import models
from semilung.nested import leaves, plain
from semilung.runs.config_values import build_settings, config_from_values
from semilung.runs.run_folder import RunFolder
from semilung.runs.train_config import TrainConfig
from semilung.tasks import tasks
from semilung.types import UserError

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT = 1
PREPARATION = ("spacing_mm", "clip_hu", "crop_to_lungs", "lung_margin_mm", "window_hu")
"""Settings of `data` that prediction reads."""

INFERENCE = tuple(setting.name for setting in fields(InferenceConfig))
DTYPES = {"float32": torch.float32, "float16": torch.float16}
LOCAL = re.compile(r"~|/|\\\\|[A-Za-z]:[\\/]|file:")
"""Beginnings of a path that means something on one machine only."""


@dataclass(frozen=True)
class SavedNet:
    """A net without its Python object, as a checkpoint or an export holds it.

    Attributes:
        model: `name` and options.
        heads: Number of channels of each head besides `logits`.
        logits: Whether the backbone's own output is there.
        weights: Name to tensor.
        provenance: Run, checkpoint, net within it (`student` or `teacher.net`) and steps.
    """

    model: Mapping[str, Any]
    heads: Mapping[str, int]
    logits: bool
    weights: Mapping[str, Tensor]
    provenance: Provenance


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
    heads: dict[str, int] = field(default_factory=dict)
    logits: bool = True
    tasks: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    inference: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    sha256: str = ""


def is_export(path: Path) -> bool:
    """Return whether a folder holds an exported net, and not a run."""
    return (path / CONFIG).is_file() and not RunFolder(path).config.exists()


def write_export(net: SavedNet, config: TrainConfig, out: Path, *, half: bool = False) -> None:
    """Write a net and all settings that prediction reads; the config last, so that it is whole.

    Args:
        net: The net.
        config: Of its run; of `data`, only what prepares scans is written.
        out: Folder.
        half: Round weights to float16.

    Raises:
        UserError: A setting names a path of this machine, a weight exceeds float16, or the disk
            refuses.
    """
    model, active = plain(dict(net.model)), plain(dict(config.tasks))
    _require_portable({"model": model, "tasks": active})
    content = save({name: _stored(name, value, half) for name, value in net.weights.items()})
    data, inference = asdict(config.data), asdict(config.inference)
    stored = ExportedConfig(
        semilung=version("semilung"),
        packages=dict(_foreign_packages(model["name"], active)),
        provenance=net.provenance,
        model=model,
        heads=dict(net.heads),
        logits=net.logits,
        tasks=active,
        data={name: data[name] for name in PREPARATION},
        inference={name: inference[name] for name in INFERENCE},
        dtype="float16" if half else "float32",
        sha256=hashlib.sha256(content).hexdigest(),
    )
    write_bytes(out / WEIGHTS, content)
    write_text(out / CONFIG, json.dumps(plain(asdict(stored)), indent=2) + "\n")


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


def read_exported_net(folder: Path) -> SavedNet:
    """Return the net of an export; its weights are those that were written, checked by a hash.

    Raises:
        UserError: As `read_exported_config`, or the weights are missing, damaged or others.
    """
    stored, _ = read_exported_config(folder)
    path = folder / WEIGHTS
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != stored.sha256:
            raise ValueError(f"its SHA-256 is not the one in {CONFIG}, so they do not belong")
        weights = load_file(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(
            f"{path} is not what was exported: {error}. Copy both files again, or export the run "
            f"again"
        ) from error
    return SavedNet(stored.model, stored.heads, stored.logits, weights, stored.provenance)


def _stored(name: str, value: Tensor, half: bool) -> Tensor:
    value = value.detach().cpu().contiguous().clone()  # tied weights are written twice
    if not half or not value.is_floating_point():
        return value
    rounded = value.half()
    if not bool(rounded.isfinite().all()):
        raise UserError(f"{name} has weights beyond the range of float16; export without --half")
    return rounded


def _foreign_packages(model: str, active: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for factory in (models[model], *(tasks[name] for name in active)):
        package = factory.__module__.partition(".")[0]
        if package != "semilung":
            try:
                yield package, version(package)
            except PackageNotFoundError:
                yield package, ""


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


def _require_portable(settings: Mapping[str, Any]) -> None:
    for name, value in leaves(settings).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and LOCAL.match(text):
                raise UserError(
                    f"{name}={text!r:.100} is a path of this machine, which an export may not "
                    f"hold; train with a name or a relative path instead"
                )
