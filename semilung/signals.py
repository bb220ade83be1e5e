"""Signals that ask a command to stop, and the exit codes that follow from them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; a cluster that takes its machine back; a cluster whose time limit draws near."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

TRY_AGAIN = 75
"""Exit code after a cluster's signal: EX_TEMPFAIL of sysexits.h. A batch script requeues its job on
it."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code after a signal, whose number the exception holds."""
    return INTERRUPTED if stop.args in ((), (signal.SIGINT,)) else TRY_AGAIN


class RaiseInterrupt:
    """Handler of a signal: raises KeyboardInterrupt with its number, as Ctrl-C does without one.

    A process that was forked meanwhile, such as a loader's, ends by the signal as if it had no
    handler.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt."""
        if os.getpid() == self._process:
            raise KeyboardInterrupt(number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Let a cluster's signals interrupt the block, as Ctrl-C does.

    What is saved as it goes, such as prepared scans, stays. A training that has a state to save
    handles signals itself while it lasts (`StopRequest`).
    """
    handler = RaiseInterrupt()
    unhandled = [n for n in STOP_SIGNALS[1:] if signal.getsignal(n) is signal.SIG_DFL]
    for number in unhandled:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in unhandled:
            signal.signal(number, signal.SIG_DFL)


def enable_interrupts() -> None:
    """Let Ctrl-C interrupt this process, also where a shell's background job ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C in the block, also in processes that it starts."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def exit_on_interrupted_import() -> Iterator[None]:
    """Let Ctrl-C during an import end the process at once, with code 130.

    Nothing has begun that could be lost, and an interrupted import raises anything but
    KeyboardInterrupt: packages catch it, or report that a half-imported module lacks a name.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # it may be ignored
        yield
        return
    signal.signal(signal.SIGINT, _exit_from_import)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit_from_import(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"semilung: interrupted\n")
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _announce(number: int) -> None:
    print("\nstopping after this step; Ctrl-C again interrupts at once", flush=True)  # noqa: T201


class StopRequest:
    """Within it, Ctrl-C, SIGTERM and SIGUSR1 only set `number`; a second Ctrl-C interrupts at once.

    An optimizer step that is cut in two would leave weights that no run ever had, so the loop looks
    at `number` between steps and saves a whole state. Slurm may send several signals one after the
    other; all of them mean the same. Terminals and clusters signal the loader's processes too,
    which go on until this one lets them.

    SIGUSR2 counts where another handler waits for it, as submitit's does in its jobs. Handlers of
    others are called at the end, when the state is saved: submitit then requeues.

    Args:
        act: Is called with the first signal's number.

    Attributes:
        number: Of the first signal, 0 before it.
    """

    def __init__(self, act: Callable[[int], None] = _announce) -> None:
        self.number = 0
        self._act = act
        self._received: dict[int, None] = {}
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        self._process = os.getpid()
        submitit = [signal.SIGUSR2] if callable(signal.getsignal(signal.SIGUSR2)) else []
        self._previous = {n: signal.signal(n, self._handle) for n in (*STOP_SIGNALS, *submitit)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        for number in self._received:
            other = self._previous[number]
            foreign = callable(other) and not isinstance(other, RaiseInterrupt)
            if number != signal.SIGINT and foreign:
                other(number, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received[number] = None
        if not self.number:
            self.number = number
            self._act(number)
