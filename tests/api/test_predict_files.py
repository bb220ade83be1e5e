"""Prediction of several scans: an error of one, at any step, is none of the others'."""

import errno
import json
import re

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from dicom_series import write_series
from torch import nn

from semilung.api import prediction_files
from semilung.api.load import LoadedRun
from semilung.api.predict_files import predict as predict_scans
from semilung.cli import main
from semilung.data.io.volume import read_volume
from semilung.files import DiskFullError
from semilung.inference import Predictor
from semilung.inference import scan_progress as progress
from semilung.inference.output_files import FORMATS, output_names
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
    owner = Predictor if step == "scan_maps" else prediction_files
    monkeypatch.setattr(owner, step, fails_for(scans[1], error, getattr(owner, step)))
    with pytest.raises(UserError) as caught:
        predict(probability=True)
    first, reason, last = str(caught.value).split("\n")
    assert first == "1 of 3 scans could not be predicted:"
    assert str(scans[1]) in reason
    assert last == f"The others are in {tmp_path / 'out'}"
    done = [scan.name.split(".")[0] for scan in (scans[0], scans[2])]
    kinds = ("nodules.nii.gz", "findings.csv", "findings.json", "probability.nii.gz")
    assert names(tmp_path / "out") == sorted(f"{n}_{k}" for n in done for k in kinds)


def test_full_disk_ends_a_prediction_with_one_line(predict, scans, tmp_path, monkeypatch):
    error = DiskFullError("No space left in /out")
    write = fails_for(scans[1], error, prediction_files.write_volume)
    monkeypatch.setattr(prediction_files, "write_volume", write)
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
    written, *_ = predict(paths=[long])
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


@pytest.mark.parametrize("format_", [*FORMATS[:-1]])
def test_predict_format_writes_mask_and_probability_in_the_scans_geometry(
    predict, scans, tmp_path, format_
):
    written = predict(paths=scans[:1], format=format_, probability=True)
    assert [path.name.partition("_")[2].partition("_")[2] for path in written] == [
        f"nodules.{format_}", "findings.csv", "findings.json", f"probability.{format_}"
    ]  # fmt: skip
    source = sitk.ReadImage(str(scans[0]))
    predict(paths=scans[:1], probability=True, overwrite=True)  # NIfTI, the default
    for path in (written[0], written[3]):
        image = sitk.ReadImage(str(path))
        assert image.GetSize() == source.GetSize()
        for property_ in ("GetOrigin", "GetSpacing", "GetDirection"):
            np.testing.assert_allclose(
                getattr(image, property_)(), getattr(source, property_)(), atol=1e-4
            )
        nifti = path.with_name(path.name.removesuffix(format_) + "nii.gz")
        np.testing.assert_array_equal(read_volume(path).data, read_volume(nifti).data)
    record = json.loads(written[2].read_text())
    assert record["findings"]
    assert "/" not in json.dumps({k: v for k, v in record.items() if k != "notice"})


@pytest.mark.parametrize(("first", "second"), [("nii.gz", "mha"), ("nrrd", "nii")])
def test_predict_in_another_format_replaces_findings_only_on_request(predict, scans, first, second):
    predict(paths=scans[:1], format=first)
    with pytest.raises(UserError, match=r"has nodules of \w+ already; add --overwrite"):
        predict(paths=scans[:1], format=second)
    assert predict(paths=scans[:1], format=second, overwrite=True)[0].name.endswith(second)


@pytest.fixture
def series(tmp_path):
    """A DICOM series, and one without bright voxels."""
    rng = np.random.default_rng(0)
    hu = rng.integers(-900, -700, (24, 20, 12))
    write_series(tmp_path / "plain", hu, spacing_mm=(4.0, 4.0, 4.0))
    hu[4:8, 5:9, 3:6] = hu[15:19, 10:14, 8:10] = 900
    bright = write_series(tmp_path / "bright", hu, spacing_mm=(4.0, 4.0, 4.0))
    return bright, tmp_path / "plain"


@pytest.mark.filterwarnings("ignore:.*HU")
def test_predict_as_dicom_writes_a_seg_with_a_segment_a_finding(predict, series, tmp_path):
    bright, plain = series
    with pytest.warns(UserWarning, match="without findings gets no DICOM SEG"):
        written = predict(paths=[bright, plain], format="dcm", probability=True, page=True)
    assert names(tmp_path / "out") == [
        "bright.html", "bright_findings.csv", "bright_findings.json", "bright_nodules.dcm",
        "bright_pictures", "bright_probability.nii.gz", "index.html", "plain.html",
        "plain_findings.csv", "plain_findings.json", "plain_probability.nii.gz",
    ]  # fmt: skip
    assert "plain_nodules.dcm" not in [path.name for path in written]
    seg = pydicom.dcmread(tmp_path / "out/bright_nodules.dcm")
    record = json.loads((tmp_path / "out/bright_findings.json").read_text())
    assert [s.SegmentNumber for s in seg.SegmentSequence] == [1, 2]
    assert record["mask"] == {"file": "bright_nodules.dcm", "values": "label"}
    assert json.loads((tmp_path / "out/plain_findings.json").read_text())["mask"] is None
    identity = {str(seg.PatientName), seg.PatientID, seg.StudyInstanceUID}
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.suffix != ".dcm":
            assert not any(value.encode() in path.read_bytes() for value in identity if value)
    with pytest.raises(UserError, match=r"findings\.csv of bright, plain already"):
        predict(paths=[bright, plain], format="dcm")


@pytest.mark.filterwarnings("ignore:.*HU", "ignore:.*DICOM SEG")
def test_predict_again_leaves_no_seg_and_no_picture_of_the_earlier_prediction(
    predict, series, tmp_path
):
    predict(paths=[series[0]], format="dcm", page=True)
    assert len(names(tmp_path / "out/bright_pictures")) == 2
    predict(paths=[series[0]], format="dcm", page=True, threshold=0.999, overwrite=True)
    assert names(tmp_path / "out/bright_pictures") == []
    assert not (tmp_path / "out/bright_nodules.dcm").exists()
    assert "No findings" in (tmp_path / "out/bright.html").read_text()


@pytest.mark.parametrize("format_", FORMATS)
def test_predict_two_scans_of_one_name_are_refused_in_every_format(
    predict, series, tmp_path, monkeypatch, format_
):
    monkeypatch.setattr(Predictor, "scan_maps", None)
    (tmp_path / "other").mkdir()
    second = tmp_path / "other/bright"
    second.symlink_to(series[0])
    if format_ != "dcm":
        second = tmp_path / "bright.nii.gz"
        second.touch()
    with pytest.raises(UserError, match=r"two scans would be written under one name.*bright"):
        predict(paths=[series[0], second], format=format_)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "nii.gzip"}, r"format is one of nii\.gz, nii, mha, nrrd, dcm, got 'nii.gzip'"),
        ({"format": "dcm"}, r"a DICOM SEG \(--format dcm\) refers to the slices"),
    ],
)
def test_predict_format_that_a_scan_cannot_have_is_refused_before_anything_is_predicted(
    predict, tmp_path, monkeypatch, options, message, capfd
):
    monkeypatch.setattr(Predictor, "scan_maps", None)
    with pytest.raises(UserError, match=message):
        predict(progress=True, **options)
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["missing.nii.gz", "missing", "notes.txt", "x" * 300 + ".nii"])
def test_predict_path_that_is_no_scan_is_refused_before_anything_is_announced(
    predict, scans, tmp_path, monkeypatch, capfd, name
):
    monkeypatch.setattr(Predictor, "scan_maps", None)
    (tmp_path / "notes.txt").write_text("not a scan")
    with pytest.raises(UserError, match=r"no such file|no reader for this kind of file"):
        predict(paths=[scans[0], tmp_path / name], progress=True)
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "out").exists()


def test_predict_page_of_a_scan_named_index_is_refused(predict, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "scan_maps", None)
    (tmp_path / "index.nii.gz").symlink_to(scans[0])
    with pytest.raises(UserError, match=r"has the page index\.html"):
        predict(paths=[tmp_path / "index.nii.gz"], page=True)


def test_predict_help_names_every_format(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "nii.gz (default), nii, mha, nrrd, or dcm" in text
    assert FORMATS == ("nii.gz", "nii", "mha", "nrrd", "dcm")
