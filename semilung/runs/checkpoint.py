"""Checkpoints: tensors and plain values, written whole or not at all."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from semilung.files import whole_file
from semilung.types import UserError

FORMAT = 1

MAX_SHARED = 8
"""Most times that a checkpoint's storage may be named: nets that share weights share it too."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all, flushed to disk before it takes its name.

    Raises:
        UserError: The disk refuses (full, read-only); the previous checkpoint stays as it was.
    """
    with whole_file(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save({"format": FORMAT, **state}, file)
        except RuntimeError as error:  # what torch makes of a disk that refuses
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise OSError(str(error).splitlines()[0]) from error
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint with `weights_only=True`, so that it cannot run code.

    Raises:
        UserError: Missing, truncated, changed, of another format, or holding more than tensors and
            values.
    """
    if not path.is_file():
        msg = f"there is no checkpoint {path}; give the folder of a run that has saved one"
        raise UserError(msg)
    try:
        _require_sound(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        _require_backed(state, path.stat().st_size)
    except Exception as error:  # torch's reader has no error of its own for a damaged file
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"{path} is not a checkpoint that can be trusted or read: {first}"
        raise UserError(f"{msg}. Restore the file, or begin a new run") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        msg = f"{path} is no semilung checkpoint of format {FORMAT}"
        raise UserError(msg)
    return state


def _require_sound(path: Path) -> None:
    """Compare every entry with its checksum, which torch does not; it packs none, so none may grow.

    Raises:
        ValueError, OSError, zipfile.BadZipFile: The file is not what was written.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries are compressed, or larger than the file")
        if (changed := archive.testzip()) is not None:
            raise ValueError(f"{changed} is not what was written")


def _require_backed(state: Any, size: int) -> None:
    """Refuse tensors that stand for more bytes than the file holds.

    An expanded tensor (stride 0), or one of overlapping rows, is a few bytes on disk and fills
    memory once it is copied.

    Raises:
        ValueError: There is one; or all of them together ask for many times the file.
    """
    total = 0
    for tensor in _tensors(state):
        needed = tensor.numel() * tensor.element_size()
        total += needed
        if tensor.layout != torch.strided or needed > tensor.untyped_storage().nbytes():
            shape = tuple(tensor.shape)
            raise ValueError(f"a tensor of shape {shape} stands for more than the file holds")
    if total > MAX_SHARED * size:
        raise ValueError(f"its tensors stand for {total} bytes, and the file has {size}")


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    """Every tensor at any depth; recursion ends at what the unpickler can nest."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, dict):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple | set):
        for value in values:
            yield from _tensors(value)
