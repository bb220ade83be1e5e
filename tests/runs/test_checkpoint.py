"""Checkpoints are whole or absent, and cannot run code."""

import pickle
import resource
from pathlib import Path

import pytest
import torch

from semilung.runs.checkpoint import load_checkpoint, save_checkpoint
from semilung.types import UserError

TOUCHED = "touched-by-a-checkpoint"


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path(TOUCHED),))


def test_round_trip(tmp_path):
    state = {"step": 3, "weights": {"a": torch.arange(4.0)}, "best": float("-inf")}
    save_checkpoint(tmp_path / "last.pt", state)
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert loaded["step"] == 3
    assert torch.equal(loaded["weights"]["a"], torch.arange(4.0))
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize(
    "write", [torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj))]
)
def test_a_hostile_checkpoint_runs_nothing(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write({"format": 1, "step": Hostile()}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="trusted"):
        load_checkpoint(tmp_path / "last.pt")
    assert not (tmp_path / TOUCHED).exists()


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_truncated_checkpoint_is_reported(tmp_path, keep):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weights": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"last\.pt"):
        load_checkpoint(path)


def test_missing_or_foreign_files_are_reported(tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        load_checkpoint(tmp_path / "last.pt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="no semilung checkpoint"):
        load_checkpoint(tmp_path / "other.pt")


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match="could not be written"):
            save_checkpoint(path, {"step": 2, "weights": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
