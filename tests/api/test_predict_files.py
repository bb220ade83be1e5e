"""Prediction of several scans: an error of one, at any step, is none of the others'."""

import errno
import re

import pytest
import torch
from torch import nn

from semilung.api import prediction
from semilung.api.load import LoadedRun
from semilung.api.predict_files import predict as predict_scans
from semilung.cli import main
from semilung.data.io.volume import read_volume
from semilung.files import DiskFullError
from semilung.inference import Predictor
from semilung.inference import scan_progress as progress
from semilung.inference.output_files import output_names
from semilung.types import UserError


class Net(nn.Module):
    def forward(self, x):
        return {"logits": x - 0.5}


@pytest.fixture
def scans(phantom):
    return sorted((phantom.parent / "images").glob("*.nii.gz"))[:3]


@pytest.fixture
def predict(tiny, scans, tmp_path):
    def run(*, paths=scans, **options):
        return predict_scans(LoadedRun([Net()], tiny()), paths, tmp_path / "out", **options)

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def fails_for(scan, error, function):
    """The function, which fails where its arguments name the scan."""

    def act(*arguments, **options):
        if any(scan.name.split(".")[0] in str(argument) for argument in arguments):
            raise error
        return function(*arguments, **options)

    return act


@pytest.mark.parametrize("step", ["scan_maps", "write_volume"])
@pytest.mark.parametrize(
    "error",
    [
        UserError("the header is damaged"),
        OSError(errno.EIO, "Input/output error"),
        MemoryError("9 GiB"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("shape mismatch"),
        ZeroDivisionError("division by zero"),
    ],
)
def test_scan_that_fails_at_any_step_stops_no_other(
    predict, scans, tmp_path, monkeypatch, step, error
):
    owner = Predictor if step == "scan_maps" else prediction
    monkeypatch.setattr(owner, step, fails_for(scans[1], error, getattr(owner, step)))
    with pytest.raises(UserError) as caught:
        predict(probability=True)
    first, reason, last = str(caught.value).split("\n")
    assert first == "1 of 3 scans could not be segmented:"
    assert str(scans[1]) in reason
    assert last == f"The others are in {tmp_path / 'out'}"
    done = [scan.name.split(".")[0] for scan in (scans[0], scans[2])]
    kinds = ("nodules.nii.gz", "findings.csv", "probability.nii.gz")
    assert names(tmp_path / "out") == sorted(f"{n}_{k}" for n in done for k in kinds)


def test_full_disk_ends_a_prediction_with_one_line(predict, scans, tmp_path, monkeypatch):
    error = DiskFullError("No space left in /out")
    write = fails_for(scans[1], error, prediction.write_volume)
    monkeypatch.setattr(prediction, "write_volume", write)
    with pytest.raises(UserError, match=r"No space left in /out\n1 were not tried\nThe others"):
        predict()


def test_name_that_is_too_long_is_refused_before_anything_is_predicted(
    predict, scans, tmp_path, monkeypatch
):
    monkeypatch.setattr(Predictor, "scan_maps", None)
    long = tmp_path / ("1" * 243 + ".nii.gz")
    long.symlink_to(scans[1])
    with pytest.raises(UserError, match=r"name 1+ is too long: .*names of 258 bytes, and 255"):
        predict(paths=[scans[0], long])
    monkeypatch.undo()
    assert output_names([long], tmp_path / "a/b", ["x"], overwrite=False) == {long: "1" * 243}


def test_longest_name_that_a_mask_can_have_is_written(predict, scans, tmp_path):
    long = tmp_path / ("1" * 240 + ".nii.gz")
    long.symlink_to(scans[1])
    written, _ = predict(paths=[long])
    assert len(written.name) == 255
    assert read_volume(written).shape == (32, 32, 32)


def test_folder_that_cannot_be_written_is_refused_before_anything_is_predicted(
    tiny, scans, tmp_path, monkeypatch
):
    monkeypatch.setattr(Predictor, "scan_maps", None)
    (tmp_path / "file").touch()
    for out in (tmp_path / "file/out", tmp_path / "file", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=r"could not be written.*Choose another --out"):
            predict_scans(LoadedRun([Net()], tiny()), scans, out)


def test_progress_without_a_terminal_is_plain_lines(predict, scans, monkeypatch, capfd):
    monkeypatch.setattr(progress, "PERIOD_S", 0.0)
    predict(progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == f"scan 1 of 3, {scans[0].name.split('.')[0]}: begins"
    pattern = r"scan 2 of 3, \w+: \d+ of (\d+) parts, 0:0\d elapsed, 0:0\d left"
    assert any(re.fullmatch(pattern, line) for line in lines)
    assert "\x1b" not in err
    predict(overwrite=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_memory_that_ends_in_a_command_is_one_sentence(tmp_path, monkeypatch, capfd, command):
    def end(*_, **__):
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr("semilung.api.evaluate.load_run_config", end)
    monkeypatch.setattr("semilung.api.report.write_html", end)
    with pytest.raises(SystemExit) as stop:
        main([command, str(tmp_path)])
    err = capfd.readouterr().err
    assert stop.value.code == 2
    assert err.startswith("semilung: out of memory (Unable to allocate 9 GiB)")
    assert err.count("\n") == 1


def test_threshold_out_of_range_is_refused_once_before_any_scan(predict, scans, monkeypatch):
    monkeypatch.setattr(Predictor, "scan_maps", None)
    with pytest.raises(UserError, match=r"threshold=2.* out of range") as caught:
        predict(threshold=2.0)
    assert "\n" not in str(caught.value)
