"""What the command says, and how it ends on a mistake."""

from __future__ import annotations

import sys
from typing import NoReturn


def say(message: str) -> None:
    """Print a line for the user."""
    print(message)  # noqa: T201


def fail(message: str) -> NoReturn:
    """Tell of a mistake and exit with 2."""
    print(f"semilung: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(2)
