"""Prediction of an array with its affine."""

import numpy as np
import pytest
from torch import nn

from semilung.api.array_scan import volume_of_array
from semilung.api.load import LoadedRun
from semilung.data import Volume, read_volume
from semilung.types import UserError

HU = np.full((8, 9, 10), -800, np.int16)
LPS = np.diag([-0.7, -0.7, 2.0, 1.0])


class Net(nn.Module):
    def forward(self, x):
        return {"logits": x - 0.5}


@pytest.fixture
def run(tiny):
    return LoadedRun([Net()], tiny(), names=["r"])


@pytest.fixture
def scan(phantom):
    return sorted((phantom.parent / "images").glob("*.nii.gz"))[0]


@pytest.mark.parametrize("dtype", [np.int16, np.float64, ">i2"])
def test_predict_array_with_affine_is_the_prediction_of_its_file(run, scan, dtype):
    volume, of_file = read_volume(scan), run.predict(scan)
    array = np.asfortranarray(volume.data.astype(dtype))
    for of_array in (
        run.predict(array, volume.affine),
        run.predict(array, affine=volume.affine.tolist()),
        run.predict(Volume(array, volume.affine)),
    ):
        np.testing.assert_array_equal(of_array.probability.data, of_file.probability.data)
        np.testing.assert_array_equal(of_array.mask.affine, of_file.mask.affine)
        columns = of_file.findings.columns[1:]
        assert of_array.findings[columns].equals(of_file.findings[columns])


def test_predict_array_is_written_under_the_name_that_it_is_given(run, scan, tmp_path):
    volume = read_volume(scan)
    prediction = run.predict(volume, name="case_1")
    assert set(prediction.findings["seriesuid"]) <= {"case_1"}
    files = prediction.write(tmp_path, format="nrrd")
    assert files[0] == tmp_path / "case_1_nodules.nrrd"
    np.testing.assert_allclose(read_volume(files[0]).affine, volume.affine, atol=1e-5)
    with pytest.raises(UserError, match="the array: a DICOM SEG"):
        prediction.write(tmp_path, format="dcm")


@pytest.mark.parametrize(
    ("scan", "affine", "message"),
    [
        (HU, None, "needs its affine"),
        (HU, np.eye(3), r"\(4, 4\) matrix, got shape \(3, 3\)"),
        (HU, "LPS", r"\(4, 4\) matrix of numbers"),
        (HU, np.diag([1, 1, 0, 1]), "singular"),
        (HU, np.diag([1, 1, np.nan, 1]), "not finite"),
        (HU, np.eye(4) + np.eye(4)[:, [3, 1, 2, 0]].T * 7, "last row must be 0 0 0 1"),
        (HU, LPS * 1000, "last row"),
        (HU, np.diag([0.0007, 0.0007, 0.002, 1]), "look like metres"),
        (HU[0], LPS, r"must be \(X, Y, Z\), got shape \(9, 10\)"),
        (HU[None], LPS, r"must be \(X, Y, Z\)"),
        (HU[:0], LPS, "empty"),
        (HU.astype(complex), LPS, "numpy array of numbers with its affine; got complex128"),
        (HU.tolist(), LPS, "numpy array of numbers with its affine; got list"),
        (Volume(HU, LPS), LPS, "an affine of its own"),
        (Volume(HU, np.zeros((4, 4))), None, "last row"),
    ],
)  # fmt: skip
def test_volume_of_array_that_is_no_scan_says_why(scan, affine, message):
    with pytest.raises(UserError, match=message):
        volume_of_array(scan, affine)


def test_predict_refuses_what_belongs_to_files_of_arrays_and_the_reverse(run, scan):
    with pytest.raises(UserError, match="series is chosen in a folder"):
        run.predict(HU, LPS, series="3")
    with pytest.raises(UserError, match="a file has an affine of its own"):
        run.predict(scan, LPS)


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN or infinite"), (0.5, "constant|HU|normalised")]
)
def test_predict_array_without_hu_is_refused_as_a_file_is(run, value, message):
    with pytest.raises(UserError, match=f"the array.*({message})"):
        run.predict(np.full((8, 9, 10), value), LPS)
