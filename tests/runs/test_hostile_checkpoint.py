"""Checkpoints that are damaged or mean harm: refused, and nothing of them runs or grows."""

import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semilung.runs.checkpoint import load_checkpoint, save_checkpoint
from semilung.types import UserError

STATE = {
    "step": 3,
    "best": 0.5,
    "model": {"name": "reversible_unet", "widths": [4, 8]},
    "learner": {"student.weight": torch.arange(300.0), "student.bias": torch.zeros(2, 3)},
    "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]},
}


@pytest.fixture
def path(tmp_path):
    save_checkpoint(tmp_path / "last.pt", STATE)
    return tmp_path / "last.pt"


def repacked(path, edit=lambda name, content: content, method=zipfile.ZIP_STORED):
    """The same archive with entries edited and checksums that are right."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, edit(name, content))


def test_a_repacked_checkpoint_is_still_one(path):
    repacked(path)
    assert load_checkpoint(path)["step"] == 3


def test_a_flipped_bit_of_a_weight_is_reported(path):
    raw = bytearray(path.read_bytes())
    raw[raw.find(torch.arange(300.0).numpy().tobytes()) + 400] ^= 0x40
    path.write_bytes(raw)
    with pytest.raises(UserError, match="not what was written"):
        load_checkpoint(path)


def test_a_pickle_that_runs_code_in_a_sound_archive(path, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    def edit(name, content):
        return pickle.dumps({"format": 1, "x": Hostile()}, 2) if "data.pkl" in name else content

    repacked(path, edit)
    with pytest.raises(UserError, match="trusted"):
        load_checkpoint(path)
    assert not (tmp_path / "touched").exists()


def test_entries_that_would_grow_are_not_unpacked(path):
    repacked(path, method=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="compressed"):
        load_checkpoint(path)


def test_a_program_of_torchscript_is_no_checkpoint(path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))
    with pytest.raises(UserError, match=r"last\.pt"):
        load_checkpoint(path)


def test_the_old_format_without_checksums_is_not_read(path):
    torch.save({"format": 1, **STATE}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match="not a zip file"):
        load_checkpoint(path)


@pytest.mark.parametrize("cases", [60, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sound", [False, True])
def test_damaged_checkpoints_are_read_or_refused(path, cases, sound):
    """Bytes changed in the file, or in its pickle with a checksum that is right."""
    original = path.read_bytes()
    change = st.tuples(st.integers(0, 10_000), st.integers(0, 255))

    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(change, min_size=1, max_size=5), st.integers(0, 3 * len(original)))
    def check(changes, cut):
        path.write_bytes(original if sound else spoilt(original, changes)[: cut or None])
        if sound:
            repacked(path, lambda n, c: spoilt(c, changes) if n.endswith("data.pkl") else c)
        with suppress(UserError):
            load_checkpoint(path)

    check()


def spoilt(content, changes):
    raw = bytearray(content)
    for at, value in changes:
        raw[at % len(raw)] = value
    return bytes(raw)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**6, 10**3),
        torch.zeros(2000).as_strided((1000, 1000), (1, 1)),
        torch.sparse_coo_tensor([[0]], [1.0], (10**9,)),
    ],
)
def test_a_tensor_that_stands_for_more_than_the_file_is_refused(path, tensor):
    save_checkpoint(path, {**STATE, "learner": {"x": tensor}})
    with pytest.raises(UserError, match="more than the file holds"):
        load_checkpoint(path)


def test_one_storage_under_many_names_is_refused(path):
    shared = torch.zeros(10**5)
    save_checkpoint(path, {"x": [shared] * 4})
    assert len(load_checkpoint(path)["x"]) == 4  # nets that share weights
    save_checkpoint(path, {"x": [shared] * 1000})
    with pytest.raises(UserError, match="its tensors stand for 400000000 bytes"):
        load_checkpoint(path)
