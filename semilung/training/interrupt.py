"""Stopping between two steps instead of in the middle of one."""

from __future__ import annotations

import signal
from types import FrameType


class Interrupt:
    """Within it, the first Ctrl-C only sets `asked`; the second one breaks off at once.

    An optimizer step that is cut in two would leave weights that no run ever had, so the loop asks
    between steps and saves a whole state.
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interrupt:
        self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping after this step; Ctrl-C again breaks off at once", flush=True)  # noqa: T201
