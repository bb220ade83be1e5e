"""`semilung predict`: files, geometry and pseudo-labels."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from commands import run, train


def test_predict_keeps_the_scans_geometry_and_averages_runs(trained, phantom, tmp_path):
    image = pd.read_csv(phantom).loc[0, "image"]
    scan = phantom.parent / image
    code = run("predict", scan, "--run", trained, "--run", trained, "--out", tmp_path)
    assert code == 0
    findings, _, written = sorted(tmp_path.iterdir())
    assert pd.read_csv(findings).columns[0] == "seriesuid"
    mask, source = nib.load(written), nib.load(scan)
    assert mask.shape == source.shape
    np.testing.assert_allclose(mask.affine, source.affine)
    assert set(np.unique(mask.get_fdata())) <= {0, 1}
    assert run("predict", scan, "--run", trained, "--out", tmp_path) == 2
    assert run("predict", scan, "--run", trained, "--out", tmp_path, "--overwrite") == 0


@pytest.mark.filterwarnings("ignore:.*disagree by")
def test_predict_every_output_carries_the_forms_of_its_scan(trained, phantom, tmp_path):
    image = nib.load(phantom.parent / pd.read_csv(phantom).loc[0, "image"])
    other = image.affine.copy()
    other[0, 3] += 30
    image.set_qform(other, 1)
    image.set_sform(image.affine, 4)
    nib.save(image, tmp_path / "scan.nii.gz")
    out = tmp_path / "out"
    command = ("predict", tmp_path / "scan.nii.gz", "--run", trained, "--out", out)
    assert run(*command, "--probability", "--pseudo-labels") == 0
    written = sorted(out.glob("*.nii.gz"))
    assert [path.name.split("_")[1].split(".")[0] for path in written] == [
        "nodules", "probability", "pseudo"
    ]  # fmt: skip
    for path in written:
        header = nib.load(path).header
        assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 4)
        np.testing.assert_allclose(header.get_qform(), image.header.get_qform(), atol=1e-5)
        np.testing.assert_allclose(header.get_sform(), image.header.get_sform(), atol=1e-5)


def test_predict_series_needs_a_folder_and_no_manifest(trained, phantom, tmp_path, capsys):
    scan = next((phantom.parent / "images").iterdir())
    command = ("predict", scan, "--run", trained, "--out", tmp_path / "p", "--series", "3")
    assert run(*command) == 2
    assert "leave --series out" in capsys.readouterr().err
    assert run(*command, "--pseudo-labels") == 2
    assert "(--pseudo-labels) do not go together" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_predictions_become_labels_of_another_training(trained, phantom, tmp_path, capsys):
    table = pd.read_csv(phantom)
    scans = [phantom.parent / image for image in table["image"][:3]]
    output = ["--run", trained, "--out", tmp_path / "p", "--pseudo-labels", "--confident", "0.55"]
    assert run("predict", *scans, *output) == 0
    written = pd.read_csv(tmp_path / "p/manifest.csv")
    assert set(written["role"]) == {"labelled"}
    labels = nib.load(tmp_path / "p" / written["mask"][0])
    assert set(np.unique(labels.get_fdata())) <= {0, 1, 255}
    assert labels.shape == nib.load(scans[0]).shape
    assert run("data", "check", tmp_path / "p/manifest.csv") == 0
    where = [f"runs_dir={tmp_path}", "run_name=second", "trainer.max_steps=1"]
    assert train(tmp_path / "p/manifest.csv", *where) == 0
    capsys.readouterr()
    assert run("predict", *scans, *output) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_one_bad_scan_does_not_stop_the_others(trained, phantom, tmp_path, capsys):
    good = phantom.parent / pd.read_csv(phantom).loc[0, "image"]
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(good.read_bytes()[:500])
    assert run("predict", bad, good, "--run", trained, "--out", tmp_path / "out") == 2
    assert "1 of 2 scans" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 3
