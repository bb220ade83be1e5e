"""Findings of several scans as tables and pages, without masks."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from semilung.api.detect import detect
from semilung.api.evaluate_findings import evaluate_findings
from semilung.api.load import LoadedRun, load
from semilung.api.predict_files import predict
from semilung.inference import Predictor
from semilung.inference.findings import FINDING_COLUMNS
from semilung.tasks import Task, build_tasks, finding_task, tasks
from semilung.types import UserError

KINDS = ("_findings.csv", "_findings.json", ".html")
LISTS = ("findings.csv", "index.html", "scans.csv")


class Noise(nn.Module):
    """A net of segmentation, in whose noise a scan has many components."""

    def forward(self, x):
        return {"logits": 4 * torch.sin(1000 * x) + x}


@pytest.fixture
def scans(phantom):
    return sorted((phantom.parent / "images").glob("*.nii.gz"))[:3]


@pytest.fixture
def noise(tiny):
    """A run of segmentation alone that finds something."""
    config = tiny()
    inference = replace(config.inference, threshold=0.95, min_volume_mm3=200.0)
    return LoadedRun([Noise()], replace(config, inference=inference))


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch):
    monkeypatch.setattr("semilung.writers.finding_pictures.MAX_PICTURES", 1)


def name_of(scan):
    return scan.name.removesuffix(".nii.gz")


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_detect_writes_tables_and_pages_of_each_scan_and_of_all(trained_both, scans, tmp_path):
    out = tmp_path / "out"
    written = detect(trained_both, scans[:2], out, min_probability=1e-4)
    assert sorted(path.name for path in written) == names(out)
    assert names(out) == sorted([*LISTS, *(name_of(s) + kind for s in scans[:2] for kind in KINDS)])
    singles = [pd.read_csv(out / f"{name_of(scan)}_findings.csv") for scan in scans[:2]]
    for table in singles:
        assert tuple(table.columns) == FINDING_COLUMNS
        assert table["probability"].is_monotonic_decreasing
    pd.testing.assert_frame_equal(
        pd.read_csv(out / "findings.csv"), pd.concat(singles, ignore_index=True)
    )
    record = json.loads((out / f"{name_of(scans[0])}_findings.json").read_text())
    assert (record["mask"], record["findings_are"]) == (None, "predicted centres")
    assert (record["threshold"], record["min_probability"]) == (None, 1e-4)
    assert record["coordinate_frame"].startswith("LPS+")
    expected = load(trained_both).predict(scans[0], min_probability=1e-4).findings
    pd.testing.assert_frame_equal(singles[0], expected)
    assert "predicted centres" in (out / f"{name_of(scans[0])}.html").read_text()
    index = (out / "index.html").read_text()
    assert re.findall(r'data-label="findings">(\d+)<', index) == [str(len(t)) for t in singles]


def test_detect_computes_no_mask_where_the_run_predicts_centres(
    trained_both, scans, tmp_path, monkeypatch
):
    monkeypatch.setattr(Predictor, "segment_scan", None)
    run = load(trained_both)
    calls = []
    backbone = run.models[0].backbone
    backbone.head.register_forward_hook(lambda *_: calls.append("mask"))
    run.models[0].heads["centres"].register_forward_hook(lambda *_: calls.append("centres"))
    detect(run, scans[0], tmp_path)
    assert set(calls) == {"centres"}


def test_detect_of_segmentation_alone_writes_the_components_of_its_mask(noise, scans, tmp_path):
    detect(noise, scans[0], tmp_path)
    name = name_of(scans[0])
    assert names(tmp_path) == sorted([*LISTS, *(name + kind for kind in KINDS)])
    table = noise.predict(scans[0]).findings
    assert 2 < len(table) < 100
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "findings.csv"), table)
    record = json.loads((tmp_path / f"{name}_findings.json").read_text())
    assert (record["mask"], record["findings_are"]) == (None, "components of the mask")
    assert "The findings are components of the mask." in (tmp_path / f"{name}.html").read_text()


@pytest.mark.parametrize("command", ["detect", "predict"])
def test_findings_of_a_run_of_three_tasks_are_described_in_every_file_in_one_pass(
    described, scans, tmp_path, monkeypatch, command
):
    run, passes = load(described, settings=["inference.window=null"]), []
    run.models[0].register_forward_hook(lambda *arguments: passes.append(sorted(arguments[2])))
    if command == "detect":
        monkeypatch.setattr(Predictor, "segment_scan", None)  # computes no mask
        detect(run, scans[0], tmp_path, min_probability=1e-4)
        heads = ["centres", "descriptions"]
    else:
        monkeypatch.setattr(run.tasks["detection"], "min_probability", 1e-4)
        predict(run, scans[0], tmp_path, page=True)
        heads = ["centres", "descriptions", "logits"]
        assert (tmp_path / f"{name_of(scans[0])}_nodules.nii.gz").is_file()
    assert passes == [heads]
    table = pd.read_csv(tmp_path / f"{name_of(scans[0])}_findings.csv")
    names = ["malignancy", "spiculated", "texture"]
    assert tuple(table.columns) == (*FINDING_COLUMNS, *names)
    assert len(table) > 0
    assert table["malignancy"].between(1, 5).all()
    record = json.loads((tmp_path / f"{name_of(scans[0])}_findings.json").read_text())
    assert record["descriptions"] == {
        "malignancy": "expected rating, 1 to 5",
        "spiculated": "probability of 1, 0 to 1",
        "texture": "most probable class",
    }
    assert [[row[name] for name in names] for row in record["findings"]] == table[
        names
    ].values.tolist()
    page = (tmp_path / f"{name_of(scans[0])}.html").read_text()
    assert "malignancy (expected rating, 1 to 5)</th>" in page
    assert page.count(f">{table.loc[0, 'texture']}</td>") >= 1
    assert f"malignancy {table.loc[0, 'malignancy']:.2f}" in page  # of the picture
    index = (tmp_path / "index.html").read_text()
    assert f'data-label="malignancy">{table["malignancy"].max():.2f}<' in index
    assert re.search(r'data-label="texture">\d+ (solid|part_solid|ground_glass)', index)


def test_finding_task_is_that_of_centres_before_that_of_a_mask():
    both = build_tasks({"segmentation": {}, "detection": {}})
    assert finding_task(both) == "detection"
    assert finding_task({"segmentation": both["segmentation"]}) == "segmentation"


def test_detect_of_a_run_without_findings_is_an_error(tiny, scans, tmp_path, monkeypatch):
    class Hu(Task):
        files, heads = ("hu.csv",), {}

    monkeypatch.setitem(tasks._factories, "hu", Hu)
    with pytest.raises(UserError, match=r"predicts no findings, its tasks are hu; give a run"):
        detect(LoadedRun([Noise()], replace(tiny(), tasks={"hu": {}})), scans, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_detect_again_and_resumed_keep_the_table_of_all_scans(noise, scans, tmp_path):
    detect(noise, scans[0], tmp_path)
    detect(noise, scans[1], tmp_path)
    before = times(tmp_path)
    with pytest.raises(UserError, match=r"has findings\.csv of .* already; add --overwrite"):
        detect(noise, scans, tmp_path)
    assert times(tmp_path) == before
    written = detect(noise, scans, tmp_path, resume=True)
    assert {path.name for path in written} == {*LISTS, *(name_of(scans[2]) + k for k in KINDS)}
    after = times(tmp_path)
    assert {n: after[n] for n in before if n not in LISTS} == {
        n: t for n, t in before.items() if n not in LISTS
    }
    table = pd.read_csv(tmp_path / "findings.csv")
    assert table["seriesuid"].unique().tolist() == [name_of(scan) for scan in scans]
    assert len(pd.read_csv(tmp_path / "scans.csv")) == 3


def test_detect_lists_the_scans_that_did_not_fail(noise, scans, tmp_path):
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(scans[0].read_bytes()[:500])
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"1 of 2 scans could not be predicted:\n.*bad"):
        detect(noise, [bad, scans[0]], out)
    assert pd.read_csv(out / "scans.csv")["seriesuid"].tolist() == [name_of(scans[0])]
    with pytest.raises(UserError, match="1 of 1 scans"):
        detect(noise, bad, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_detect_tables_are_evaluated_against_nodules_of_the_same_frame(noise, scans, tmp_path):
    for frame in ("lps", "ras"):
        detect(noise, scans[:2], tmp_path / frame, frame=frame)
    nodules = pd.read_csv(tmp_path / "lps/findings.csv").nsmallest(5, "diameter_mm")
    nodules.to_csv(tmp_path / "a.csv", index=False)
    lists = {"scans": tmp_path / "lps/scans.csv", "bootstrap": 0}
    froc = evaluate_findings(tmp_path / "lps/findings.csv", tmp_path / "a.csv", **lists)
    assert froc.counts["Sensitivity"] == 1
    with pytest.warns(UserWarning, match="seems not to be in the frame of"):
        evaluate_findings(tmp_path / "ras/findings.csv", tmp_path / "a.csv", **lists)


def test_detect_in_ras_says_so_in_every_file_and_keeps_the_pictures(noise, scans, tmp_path):
    name = name_of(scans[0])
    for frame in ("lps", "ras"):
        detect(noise, scans[0], tmp_path / frame, frame=frame)
    lps, ras = (pd.read_csv(tmp_path / frame / "findings.csv") for frame in ("lps", "ras"))
    np.testing.assert_allclose(ras[["coordX", "coordY"]], -lps[["coordX", "coordY"]])
    assert set(ras["frame"]) == {"RAS"}
    record = json.loads((tmp_path / "ras" / f"{name}_findings.json").read_text())
    assert record["findings"][0]["centre_mm"] == ras.loc[0, ["coordX", "coordY", "coordZ"]].tolist()
    assert "centre, RAS+ mm" in (tmp_path / "ras" / f"{name}.html").read_text()
    picture = f"{name}_pictures/finding_01.png"
    assert (tmp_path / "lps" / picture).read_bytes() == (tmp_path / "ras" / picture).read_bytes()
    with pytest.raises(UserError, match=rf"findings of {name} in RAS\+"):
        detect(noise, scans[1], tmp_path / "ras")


def test_detect_min_probability_removes_findings_and_warns_without_effect(noise, scans, tmp_path):
    table = noise.predict(scans[0]).findings
    least = float(table["probability"].median())
    detect(noise, scans[0], tmp_path / "a", min_probability=least)
    assert pd.read_csv(tmp_path / "a/findings.csv")["probability"].min() >= least
    with pytest.warns(UserWarning, match=r"--min-probability 0.9 has no effect.*threshold 0.95"):
        detect(noise, scans[0], tmp_path / "b", min_probability=0.9)
    assert len(pd.read_csv(tmp_path / "b/findings.csv")) == len(table)


@pytest.mark.slow  # workers import torch
def test_detect_on_a_local_cluster_writes_what_one_process_writes(trained_both, scans, tmp_path):
    options = {"min_probability": 1e-4, "frame": "ras"}
    detect(trained_both, scans, tmp_path / "here", **options)
    detect(trained_both, scans, tmp_path / "there", scheduler="local", **options)
    assert names(tmp_path / "here") == names(tmp_path / "there")
    for name in names(tmp_path / "here"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_detect_on_a_cluster_takes_folders_of_runs_alone(noise, scans, tmp_path):
    with pytest.raises(UserError, match="folders"):
        detect(noise, scans, tmp_path / "out", scheduler="local")
    assert not (tmp_path / "out").exists()
