"""What the command says, and how it ends on a mistake."""

from __future__ import annotations

import sys
from typing import NoReturn


def say(message: str) -> None:
    """Print a line for the user."""
    print(message)  # noqa: T201


def fail(message: str, code: int = 2) -> NoReturn:
    """Tell what went wrong and exit; 2 is a mistake of the user's."""
    print(f"semilung: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
