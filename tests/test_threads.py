"""Threads of OpenMP that wait do not take the processor from others."""

import os
import subprocess
import sys

import pytest

from semilung.cli import main


@pytest.mark.parametrize("policy", [None, "active"])
def test_command_lets_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch, policy):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ["OMP_WAIT_POLICY"] == (policy or "passive")
    code = "import sys, semilung.cli; sys.exit('torch' in sys.modules)"  # else it would be too late
    subprocess.run([sys.executable, "-c", code], check=True)
