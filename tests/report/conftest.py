"""A sweep and its page, made once."""

import pytest
from made_sweep import write_sweep

from semilung.report import write_html


@pytest.fixture(scope="session")
def sweep(tmp_path_factory):
    """Three arms, three seeds."""
    return write_sweep(tmp_path_factory.mktemp("sweeps") / "three_arms")


@pytest.fixture(scope="session")
def page(sweep):
    """Path of the sweep's page."""
    return write_html([sweep])
