"""Checkpoints: tensors and plain values, written whole or not at all."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch

from semilung.types import UserError

FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write to a temporary file beside `path`, flush it to disk, and rename it into place.

    Raises:
        UserError: The disk refuses (full, read-only); the previous checkpoint stays as it was.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = file.name
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except (OSError, RuntimeError) as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        msg = f"the checkpoint {path} could not be written ({error}); what was there is untouched"
        raise UserError(msg) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint with `weights_only=True`, so that it cannot run code.

    Raises:
        UserError: Missing, truncated, of another format, or holding more than tensors and values.
    """
    if not path.is_file():
        msg = f"there is no checkpoint {path}; give the folder of a run that has saved one"
        raise UserError(msg)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"{path} is not a checkpoint that can be trusted or read: {first}"
        raise UserError(msg) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        msg = f"{path} is no semilung checkpoint of format {FORMAT}"
        raise UserError(msg)
    return state
