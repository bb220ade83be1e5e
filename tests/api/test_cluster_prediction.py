"""Prediction of many scans: on a Dask cluster, and after an interruption."""

import numpy as np
import pandas as pd
import pytest

from semilung.api.cluster_prediction import _predict_scan
from semilung.api.load import load
from semilung.api.predict_files import predict
from semilung.api.run_source import RunSource
from semilung.api.scan_request import ScanRequest
from semilung.data.io.volume import write_volume
from semilung.types import UserError


@pytest.fixture
def scans(phantom):
    return sorted((phantom.parent / "images").glob("*.nii.gz"))[:3]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".html"}


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.slow  # workers import torch
def test_predict_on_a_local_cluster_writes_what_one_process_writes(trained, scans, tmp_path):
    broken = tmp_path / "broken.nii.gz"
    write_volume(broken, np.zeros((8, 8, 8), np.float32), np.eye(4))  # no HU of a chest
    predict(trained, scans, tmp_path / "here", probability=True)
    with pytest.raises(UserError, match=r"1 of 4 scans.*\n.*broken.*\nThe others are in"):
        predict(trained, [*scans, broken], tmp_path / "there", probability=True, scheduler="local")
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_predict_on_a_cluster_takes_folders_of_runs_alone(trained, scans, tmp_path):
    with pytest.raises(UserError, match="folders"):
        predict(load(trained), scans, tmp_path / "out", scheduler="local")
    assert not (tmp_path / "out").exists()


def test_predict_scan_of_a_lost_worker_is_not_predicted_twice(trained, scans, tmp_path):
    request = ScanRequest(tmp_path, ("nodules", "findings.csv"))
    options = {"source": RunSource((trained,)), "request": request}
    _predict_scan(("a", scans[0]), **options)
    before = times(tmp_path)
    assert set(before) == {"a_nodules.nii.gz", "a_findings.csv"}
    _predict_scan(("a", scans[0]), **options)
    assert times(tmp_path) == before


def test_predict_resume_predicts_the_rest_and_lists_all(trained, scans, tmp_path):
    out = tmp_path / "out"
    predict(trained, scans[:2], out, confident=0.9)
    before = times(out)
    with pytest.raises(UserError, match="already"):
        predict(trained, scans, out, confident=0.9)
    written = predict(trained, scans, out, confident=0.9, resume=True)
    name = scans[2].name.removesuffix(".nii.gz")
    assert {path.name for path in written if path.name != "manifest.csv"} == {
        path.name for path in out.glob(f"{name}_*")
    }
    after = times(out)
    assert {n: t for n, t in after.items() if n in before and n != "manifest.csv"} == {
        n: t for n, t in before.items() if n != "manifest.csv"
    }
    assert len(pd.read_csv(out / "manifest.csv")) == 3
