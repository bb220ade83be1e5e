"""What the machine does to a command: a loader's process dies, memory ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from semilung.exhaustion import is_out_of_memory
from semilung.types import UserError


@contextmanager
def told_of_workers() -> Iterator[None]:
    """Make one clear message of what torch raises, at any moment, when a loader's process dies.

    Raises:
        UserError: One was killed, by hand or for want of memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        msg = (
            f"a process that loads data died ({str(error).strip()}); perhaps memory ran out. The "
            f"last checkpoint is untouched: go on with resume=..., perhaps with data.workers=0"
        )
        raise UserError(msg) from error


@contextmanager
def told_of_memory(remedy: str) -> Iterator[None]:
    """Make one clear message of memory that ends, the processor's or a device's.

    Args:
        remedy: What needs less of it.

    Raises:
        UserError: It has ended.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"out of memory ({str(error).strip()[:200]}); try {remedy}") from error
