"""Being stopped: by a signal, between two steps, and by a loader's process that dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from semilung.types import UserError

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; a cluster that takes its machine back; a cluster whose time limit draws near."""


def _tell(number: int) -> None:
    print("\nstopping after this step; Ctrl-C again breaks off at once", flush=True)  # noqa: T201


class Interrupt:
    """Within it, Ctrl-C, SIGTERM and SIGUSR1 only set `asked`; a second Ctrl-C breaks off at once.

    An optimizer step that is cut in two would leave weights that no run ever had, so the loop asks
    between steps and saves a whole state. Slurm may send several signals one after the other; all
    of them ask for the same. Terminals and clusters tell the loader's processes too, which go on
    until this one lets them.

    SIGUSR2 counts where somebody else listens to it, as submitit does in its jobs. What others
    listened to is handed on to them at the end, when the state is saved: submitit then requeues.

    Args:
        act: What is done with the first signal's number, besides keeping it.

    Attributes:
        asked: Number of the first signal, 0 before it.
    """

    def __init__(self, act: Callable[[int], None] = _tell) -> None:
        self.asked = 0
        self._act = act
        self._heard: dict[int, None] = {}
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        self._process = os.getpid()
        submitit = [signal.SIGUSR2] if callable(signal.getsignal(signal.SIGUSR2)) else []
        self._previous = {n: signal.signal(n, self._handle) for n in (*STOPPING, *submitit)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        for number in self._heard:
            if number != signal.SIGINT and callable(self._previous[number]):
                self._previous[number](number, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._heard[number] = None
        if not self.asked:
            self.asked = number
            self._act(number)


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
