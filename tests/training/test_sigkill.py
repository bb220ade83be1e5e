"""A run that is killed in cold blood goes on to the very bits of one that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from same_bits import same

from semilung.runs.checkpoint import load_checkpoint

KILL_AT = 12


def command(phantom: Path, folder: Path, *overrides: str) -> list[str]:
    return [
        sys.executable, "-m", "semilung", "train", "strategy=mean_teacher",
        f"data.manifest={phantom}", f"runs_dir={folder}", "run_name=run", "data.labelled=1",
        "data.spacing_mm=[4,4,4]", "data.crop=[16,16,16]", "model.widths=[4,8]", "model.depth=1",
        "inference.window=[16,16,16]", "trainer.max_steps=20", "trainer.checkpoint_every=5",
        "trainer.log_every=1", "trainer.validate_every=0", "trainer.accelerator=cpu", *overrides,
    ]  # fmt: skip


@pytest.mark.slow  # test_kills has the quick ones
@pytest.mark.parametrize("workers", ["data.workers=0", "data.workers=2"])
def test_sigkill_and_resume(phantom, tmp_path, workers):
    subprocess.run(command(phantom, tmp_path / "whole"), check=True, capture_output=True)
    killed = subprocess.Popen(
        command(phantom, tmp_path / "cut", workers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    metrics = tmp_path / "cut/run/metrics.csv"
    while not (metrics.exists() and f"\n{KILL_AT},loss" in metrics.read_text()):
        assert killed.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert load_checkpoint(tmp_path / "cut/run/last.pt")["step"] < 20
    resume = [sys.executable, "-m", "semilung", "train", f"resume={tmp_path / 'cut/run'}", workers]
    subprocess.run(resume, check=True, capture_output=True)
    whole, cut = (load_checkpoint(tmp_path / name / "run/last.pt") for name in ("whole", "cut"))
    assert whole["step"] == 20
    assert same(whole, cut)
