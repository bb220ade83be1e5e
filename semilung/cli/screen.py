"""What reaches the terminal: no control characters of names and paths, and no broken pipe."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO

from semilung.arm_names import printable

_OF_PROGRESS = re.compile(r"(\x1b\[[0-9;]*[A-DGKm]|\x1b\[\?25[hl]|\r)")
"""Colours, and moves within the lines of a progress bar: what rich writes to a terminal."""


class Screen:
    """A text stream that writes printable text alone; every command speaks through two of them.

    A terminal also gets the colours and cursor movements of progress bars. A closed pipe
    (`semilung train --help | head -1`) ends no command: further output is dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, made printable."""
        parts = _OF_PROGRESS.split(text) if self._stream.isatty() else [text]
        safe = [part if _OF_PROGRESS.fullmatch(part) else printable(part) for part in parts]
        try:
            self._stream.write("".join(safe))
        except BrokenPipeError:
            self._go_silent()
        except UnicodeEncodeError:  # a terminal of another encoding
            encoding = self._stream.encoding
            self._stream.write("".join(safe).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Hand on what is buffered."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._go_silent()

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        self.write("".join(lines))

    def _go_silent(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError):  # a stream without a file
            os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def screened() -> Iterator[None]:
    """Standard output and standard error as screens, flushed at the end."""
    out, err = Screen(sys.stdout), Screen(sys.stderr)
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        stack.callback(err.flush)
        stack.callback(out.flush)
        yield
