"""The widget of a prediction: what it is given, that it needs no network, and an absent extra."""

import gzip
import json
import re
import sys

import nibabel as nib
import numpy as np
import pytest

from semilung.api.prediction import Prediction
from semilung.api.view import nifti_bytes
from semilung.data import Volume
from semilung.evaluation.overlay import LUNG_WINDOW_HU
from semilung.inference.findings import component_findings
from semilung.types import UserError

ipyniivue = pytest.importorskip("ipyniivue", reason="the extra view is not installed")

AFFINE = np.array([[-0.7, 0, 0, 10.0], [0, -0.8, 0, 20.0], [0, 0, 2.0, 30.0], [0, 0, 0, 1.0]])


@pytest.fixture
def prediction():
    hu = np.random.default_rng(0).integers(-1000, 400, (12, 14, 16)).astype(np.int16)
    mask = np.zeros(hu.shape, np.uint8)
    mask[3:6, 4:7, 5:8] = 1
    labels = Volume(mask, AFFINE)
    findings = component_findings(labels, Volume(mask * np.float32(0.75), AFFINE), "ct")
    outputs = {"nodules": labels, "findings.csv": findings}
    return Prediction("ct", Volume(hu, AFFINE), outputs)


def volume_of(data):
    image = nib.Nifti1Image.from_bytes(gzip.decompress(data))
    return np.asarray(image.dataobj), image.affine


def test_view_shows_scan_mask_and_findings_where_they_are(prediction):
    widget = prediction.view(height=300)
    scan, mask = widget.volumes
    data, affine = volume_of(scan.data)
    np.testing.assert_array_equal(data, prediction.volume.data)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)
    assert (scan.cal_min, scan.cal_max) == LUNG_WINDOW_HU
    data, affine = volume_of(mask.data)
    np.testing.assert_array_equal(data, prediction.mask.data)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)
    (node,) = json.loads(widget.meshes[0].data)["nodes"]
    centre_mm = AFFINE[:3, :3] @ [4, 5, 6] + AFFINE[:3, 3]
    np.testing.assert_allclose([node[axis] for axis in "xyz"], centre_mm, atol=1e-3)
    assert node["name"] == "0.75"
    np.testing.assert_allclose(widget.scene.crosshair_pos, [1 - 4.5 / 12, 1 - 5.5 / 14, 6.5 / 16])
    assert widget.height == 300


def test_view_of_outputs_without_mask_and_findings_shows_the_scan_alone(prediction):
    widget = Prediction("ct", prediction.volume, {}).view()
    assert len(widget.volumes) == 1
    assert widget.meshes == []
    empty = prediction.findings.iloc[:0]
    findings = {"findings.csv": empty}
    assert Prediction("ct", prediction.volume, findings).view().meshes == []


def test_view_widget_loads_nothing_from_the_internet(prediction):
    source = str(prediction.view()._esm)
    assert len(source) > 1e6  # bundled, no stub
    assert re.findall(r"(?:from|import\(?)\s*[\"']https?://", source) == []
    assert re.findall(r"unpkg\.com|jsdelivr|esm\.sh|skypack|cdnjs", source) == []


def test_view_without_the_extra_names_it(prediction, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    with pytest.raises(UserError, match=r"pip install 'semilung\[view\]'"):
        prediction.view()


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (np.array([[[-1024.4, 300.0]]]), np.int16),
        (np.array([[[-1024, 70000]]]), np.float32),
        (np.array([[[0, 255]]], np.uint8), np.uint8),
    ],
)
def test_nifti_bytes_are_of_the_smallest_type_that_holds_the_values(data, dtype):
    read, _ = volume_of(nifti_bytes(Volume(data, np.eye(4))))
    assert read.dtype == dtype
    np.testing.assert_allclose(read, data, atol=0.5)
