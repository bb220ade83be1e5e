"""Being stopped: by Ctrl-C, between two steps, and by a loader's process that dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from semilung.types import UserError


class Interrupt:
    """Within it, the first Ctrl-C only sets `asked`; the second one breaks off at once.

    An optimizer step that is cut in two would leave weights that no run ever had, so the loop asks
    between steps and saves a whole state. A terminal tells the loader's processes too, which go on
    until this one lets them.
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interrupt:
        self._process = os.getpid()
        self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping after this step; Ctrl-C again breaks off at once", flush=True)  # noqa: T201


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
