"""Being stopped by a signal, between two steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from semilung.stopping import STOPPING, BreakOff


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
            other = self._previous[number]
            if number != signal.SIGINT and callable(other) and not isinstance(other, BreakOff):
                other(number, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._heard[number] = None
        if not self.asked:
            self.asked = number
            self._act(number)
