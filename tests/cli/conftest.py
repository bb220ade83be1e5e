"""A run that tests of commands share."""

import pytest
from commands import train


@pytest.fixture(scope="session")
def trained(phantom, tmp_path_factory):
    """A run of four steps; tests that change it copy it."""
    runs = tmp_path_factory.mktemp("runs")
    code = train(phantom, "strategy=mean_teacher", f"runs_dir={runs}", "run_name=tiny")
    assert code == 0
    return runs / "tiny"
