"""Machines and data that fail: one clear error, code 2, nothing half-written, nothing lost."""

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_settings import TINY

from semilung.cli import main
from semilung.data.cache.store import open_entry
from semilung.data.io.volume import read_volume, write_volume
from semilung.runs.checkpoint import load_checkpoint, save_checkpoint
from semilung.training import build, loop

SHORT = [
    *TINY, "strategy=mean_teacher", "data.labelled=1", "trainer.max_steps=6",
    "trainer.checkpoint_every=2", "trainer.validate_every=0",
]  # fmt: skip


@pytest.fixture
def told(capfd):
    """Runs a command that must fail with code 2 and one message; gives the message."""

    def run(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert stop.value.code == 2, err
        assert "Traceback" not in out + err
        assert err.count("semilung: ") - err.count("semilung: warning") == 1
        return err

    return run


@pytest.fixture
def own(phantom, tmp_path):
    """The phantom's manifest and scans, to be spoilt."""
    shutil.copytree(phantom.parent, tmp_path / "cohort")
    return tmp_path / "cohort" / phantom.name


@pytest.fixture
def begun(phantom, tmp_path):
    """A run of six steps that was interrupted after four, and what its checkpoint holds."""
    optimize = loop._optimize

    def interrupted(training, batch):
        if training.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return optimize(training, batch)

    loop._optimize = interrupted
    try:
        with pytest.raises(SystemExit) as stop:
            main(train(phantom, tmp_path))
    finally:
        loop._optimize = optimize
    assert stop.value.code == 130
    return tmp_path / "run"


def train(manifest, folder, *overrides):
    where = [f"runs_dir={folder}", "run_name=run"]
    return ["train", f"data.manifest={manifest}", *SHORT, *where, *overrides]


@contextmanager
def largest_file(size):
    """No file may grow beyond `size` bytes: a disk that is full at a chosen byte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def scraps(folder):
    return [path for path in folder.rglob(".*") if path.name.endswith((".tmp", ".b2nd", ".gz"))]


@pytest.mark.parametrize("size", [1_500, 5_000, 20_000])
def test_a_disk_that_fills_up_while_a_run_goes_on(begun, told, size):
    kept = (begun / "last.pt").read_bytes()
    assert len(kept) > 20_000
    with largest_file(size):
        message = told("train", f"resume={begun}")
    assert "could not be written" in message
    assert (begun / "last.pt").read_bytes() == kept
    assert scraps(begun) == []
    with pytest.raises(SystemExit) as stop:
        main(["train", f"resume={begun}"])
    assert stop.value.code == 0
    assert load_checkpoint(begun / "last.pt")["step"] == 6


@pytest.mark.parametrize("room", ["40k", "200k"])
def test_a_full_disk(phantom, tmp_path, told, room):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        message = told(*train(phantom, disk))
        assert "No space left" in message
        assert scraps(disk) == []
        if (disk / "run/last.pt").exists():
            load_checkpoint(disk / "run/last.pt")
        shutil.rmtree(disk / "run")
        message = told("data", "prepare", phantom, f"cache={disk / 'cache'}", "spacing_mm=[3,3,3]")
        assert f"No space left in {disk / 'cache'}" in message
        assert "needed" in message
        assert "data.cache=... or SEMILUNG_CACHE" in message
        assert message.strip().count("\n") == 0
        assert scraps(disk) == []
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("what", ["runs_dir", "data.cache"])
def test_a_folder_that_cannot_be_written(phantom, tmp_path, told, what):
    (tmp_path / "file").touch()
    for place in ("/proc/none", tmp_path / "file/none"):
        message = told(*train(phantom, tmp_path / "runs"), f"{what}={place}")
        assert "could not be written" in message or "cannot be used" in message
        assert str(place) in message
    if what == "data.cache":
        assert not (tmp_path / "runs").exists()


def test_a_scan_that_vanishes_after_preparation(own, tmp_path, told):
    main_ok("data", "prepare", own, "spacing_mm=[4,4,4]")
    image = own.parent / pd.read_csv(own).query("split == 'train'")["image"].iloc[0]
    image.unlink()
    assert f"{image}: no such file" in told(*train(own, tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_a_volume_with_nan(own, tmp_path, told):
    image = own.parent / pd.read_csv(own).query("split == 'train'")["image"].iloc[0]
    scan = read_volume(image)
    data = scan.data.astype("float32")
    data[3, 3, 3] = float("nan")
    write_volume(image, data, scan.affine)
    message = told(*train(own, tmp_path / "runs"))
    assert f"{image}: 1 voxels are NaN" in message
    assert not (tmp_path / "runs").exists()


def test_a_damaged_block_of_the_cache(begun, told):
    kept = (begun / "last.pt").read_bytes()
    cache = Path(os.environ["SEMILUNG_CACHE"])
    whole = {path: path.read_bytes() for path in cache.rglob("*.image.b2nd")}
    try:
        for path, content in whole.items():
            middle = len(content) // 2
            path.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
        open_entry.cache_clear()
        message = told("train", f"resume={begun}")
    finally:
        for path, content in whole.items():
            path.write_bytes(content)
        open_entry.cache_clear()
    assert "of the cache is damaged" in message or "cannot be opened" in message
    assert "semilung data prepare" in message
    assert (begun / "last.pt").read_bytes() == kept


def test_a_loader_process_that_dies(begun, told, monkeypatch):
    kept = (begun / "last.pt").read_bytes()
    optimize = loop._optimize

    def murder(training, batch):
        for worker in multiprocessing.active_children():
            worker.kill()
        time.sleep(0.2)
        return optimize(training, batch)

    monkeypatch.setattr(loop, "_optimize", murder)
    message = told("train", f"resume={begun}", "data.workers=1")
    assert "a process that loads data died" in message
    assert "resume=" in message
    assert (begun / "last.pt").read_bytes() == kept


def spoilt(state):
    """A checkpoint's state, wrong in one respect each."""
    yield "not a dict", list(state)
    yield "no step", {k: v for k, v in state.items() if k != "step"}
    yield "a step before the first", state | {"step": -1}
    yield "a word for a step", state | {"step": "six"}
    yield "no optimizer", {k: v for k, v in state.items() if k != "optimizer"}
    yield "another optimizer", state | {"optimizer": {"state": {}, "param_groups": []}}
    for means in (3, [3], [{"loss": 1}], [{"loss": ["x", 1]}]):
        yield f"means {means}", state | {"means": means}
    yield "no weights", state | {"learner": {}}
    yield (
        "weights of another shape",
        state | {"learner": {k: torch.zeros(1) for k in state["learner"]}},
    )


def test_a_checkpoint_that_is_not_this_runs(begun, told):
    path = begun / "last.pt"
    for why, state in spoilt(load_checkpoint(path)):
        if isinstance(state, dict):
            save_checkpoint(path, state)
        else:
            torch.save(state, path)
        kept = path.read_bytes()
        message = told("train", f"resume={begun}")
        assert str(path) in message, why
        assert "has done" not in message, why
        assert path.read_bytes() == kept, why


def test_a_checkpoint_beyond_the_last_step_says_how_many_it_has_done(begun, told):
    path = begun / "last.pt"
    save_checkpoint(path, load_checkpoint(path) | {"step": 7})
    kept = path.read_bytes()
    assert "has done 7 steps" in told("train", f"resume={begun}")
    assert path.read_bytes() == kept


def test_a_predictor_is_not_made_of_what_does_not_fit(begun, phantom, tmp_path, told, monkeypatch):
    build_student = build.build_student

    def without_memory(*arguments, **options):
        assert torch.get_default_device().type == "meta"
        return build_student(*arguments, **options)

    monkeypatch.setattr(build, "build_student", without_memory)
    scan = phantom.parent / pd.read_csv(phantom)["image"][0]
    path, state = begun / "last.pt", load_checkpoint(begun / "last.pt")
    monstrous = state["model"] | {"widths": [2**18, 2**18]}  # a quarter of an exabyte
    for wrong in ({"model": monstrous}, {"model": 3}, {"heads": 3}, {"predictor": "x"}):
        save_checkpoint(path, state | wrong)
        message = told("predict", scan, "--run", begun, "--out", tmp_path / "out")
        assert "last.pt" in message
    assert not (tmp_path / "out").exists()


def main_ok(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 0
