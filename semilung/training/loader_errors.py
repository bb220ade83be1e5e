"""One clear message where a process that loads data dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from semilung.types import UserError


@contextmanager
def explain_loader_errors() -> Iterator[None]:
    """Raise what torch raises, at any moment, when a loader's process dies as one clear message.

    Raises:
        UserError: The process was killed, by hand or for want of memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(
            f"a process that loads data died ({str(error).strip()}); perhaps memory ran out. The "
            f"last checkpoint is untouched: resume with resume=..., perhaps with data.workers=0"
        ) from error
