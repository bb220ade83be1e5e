"""Exported nets: `model.safetensors` and `config.json`, which hold all that prediction needs.

Neither file can run code. Both are read in distrust, as files from elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from semilung import __version__
from semilung.files import write_bytes, write_text
from semilung.models import models
from semilung.nested import leaves, plain
from semilung.runs.exported_config import (
    CONFIG,
    INFERENCE,
    PREPARATION,
    ExportedConfig,
    Provenance,
    read_exported_config,
)
from semilung.runs.train_config import TrainConfig
from semilung.tasks import tasks
from semilung.types import UserError

WEIGHTS = "model.safetensors"
LOCAL = re.compile(r"~|/|\\\\|[A-Za-z]:[\\/]|file:")
"""Beginnings of a path that means something on one machine only."""


@dataclass(frozen=True)
class SavedNet:
    """A net without its Python object, as a checkpoint or an export holds it.

    Attributes:
        model: `name` and options.
        heads: Channels of each head besides `logits`, or channels and stride.
        logits: Whether the backbone's own output is there.
        weights: Name to tensor.
        provenance: Run, checkpoint, net within it (`student` or `teacher.net`) and steps.
    """

    model: Mapping[str, Any]
    heads: Mapping[str, int | tuple[int, int]]
    logits: bool
    weights: Mapping[str, Tensor]
    provenance: Provenance


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
        semilung=__version__,
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


def _require_portable(settings: Mapping[str, Any]) -> None:
    for name, value in leaves(settings).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and LOCAL.match(text):
                raise UserError(
                    f"{name}={text!r:.100} is a path of this machine, which an export may not "
                    f"hold; train with a name or a relative path instead"
                )
