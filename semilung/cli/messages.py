"""Messages of the command, free of control characters, and its exit on a mistake."""

from __future__ import annotations

import sys
from typing import NoReturn

from semilung.arm_names import printable


def say(message: str) -> None:
    """Print a line for the user."""
    print(printable(message))  # noqa: T201


def fail(message: str, code: int = 2) -> NoReturn:
    """Print what went wrong and exit; 2 is a mistake of the user's."""
    print(f"semilung: {printable(message)}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
