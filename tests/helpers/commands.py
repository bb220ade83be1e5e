"""Commands in this process."""

import pytest
from tiny_settings import TINY

from semilung.cli import main


def run(*arguments):
    """Return the exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def train(phantom, *overrides):
    """Train a tiny network on a manifest, and return the exit code."""
    return run("train", f"data.manifest={phantom}", *TINY, *overrides)
