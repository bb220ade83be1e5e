"""Shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real CT that SEMILUNG_DATA names; without it, the test is skipped."""
    folder = os.environ.get("SEMILUNG_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"SEMILUNG_DATA names no folder of real CT (found {folder!r})")
    return Path(folder)
