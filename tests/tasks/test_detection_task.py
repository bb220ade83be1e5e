"""The task detection: trained alone and with segmentation, validated, evaluated, predicted with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run as command

from semilung.api.load import LoadedRun, load
from semilung.data import Case, DataConfig, read_manifest
from semilung.data.content.nodule_instances import instance_numbers
from semilung.evaluation import by_size, luna16_froc, summarise, wilson
from semilung.inference import InferenceConfig, Predictor
from semilung.inference.centre_findings import centre_values, find_centres
from semilung.models import build_model
from semilung.strategies.core.centre_maps import CENTRES, SIZE
from semilung.tasks import CasePrediction, Evaluated, build_tasks, evaluate_cases
from semilung.tasks.detection import FROC, Detection
from semilung.tasks.evaluation_loop import _joined
from semilung.testing.problem import TinyCase
from semilung.types import UserError


@pytest.fixture(scope="module")
def run(trained_both):
    """A run of both tasks, detection first."""
    return trained_both


def test_detection_run_has_its_terms_metrics_and_score(run):
    rows = pd.read_csv(run / "metrics.csv")
    names = set(rows["name"])
    terms = {f"terms/centre_detection/{t}" for t in ("labelled", "offset", "diameter", "healthy")}
    assert terms <= names
    assert {"val/cpm", "val/healthy_findings", "val/dice"} <= names
    assert build_tasks({"detection": {}})["detection"].score.name == "cpm"


def test_detection_evaluation_agrees_with_the_challenge_on_its_own_tables(run, phantom):
    folder = run / "evaluation-val-last"
    former = folder / "overlays" / "findings" / "9.png"
    former.parent.mkdir(parents=True)
    former.write_bytes(b"of an earlier evaluation")
    assert command("evaluate", run, "--split", "val") == 0
    assert not former.exists()
    assert "| -: |" in (folder / "summary.md").read_text()  # n, of one digit
    findings, cases = pd.read_csv(folder / "findings.csv"), pd.read_csv(folder / "cases.csv")
    marks = findings.rename(columns={"case": "seriesuid", "x_mm": "coordX", "y_mm": "coordY"})
    nodules = pd.DataFrame(
        [
            (case.case, *nodule.centre_mm, nodule.diameter_mm)
            for case in read_manifest(phantom)
            if case.case in set(cases["case"])
            for nodule in case.nodules
        ],
        columns=["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"],
    )
    froc = luna16_froc(
        marks.rename(columns={"z_mm": "coordZ"}), nodules, None, cases["case"], bootstrap=0
    )
    summary = pd.read_csv(folder / "summary.csv").set_index(["metric", "group"])
    assert summary.loc[("cpm", "lesions"), "mean"] == pytest.approx(froc.cpm, abs=1e-9)
    assert findings["false"].sum() == froc.counts["False positives"]


def test_detection_predicts_a_table_in_lps(run, phantom):
    scan = read_manifest(phantom)[0].image
    table = load(run).predict(scan).findings
    assert list(table.columns[:5]) == ["seriesuid", "coordX", "coordY", "coordZ", "probability"]
    assert table["probability"].is_monotonic_decreasing


class Known:
    """Maps with a peak at each given voxel of the image, as a network would predict them."""

    def __init__(self, peaks):
        self.peaks = peaks

    def case_maps(self, case, *, progress=None):
        values = torch.zeros(5, *(-(-n // 2) for n in case.shape))
        for voxel, probability, diameter_mm in self.peaks[case.name]:
            x, y, z = (v // 2 for v in voxel)
            values[:, x, y, z] = torch.tensor([probability, 0, 0, 0, np.log(diameter_mm)])
        return {"centres": values}

    data, inference = DataConfig(), InferenceConfig()


def tiny(name, role):
    """The kit's case of 16 voxels; labelled ones have a nodule of 5 mm at (5.5, 5.5, 5.5)."""
    fields = ("image", "mask") if role == "labelled" else ("image",)
    case = Case(name, name, Path(name), role, Path(name) if role == "labelled" else None)
    return TinyCase(case, {field: Path(field) for field in fields})


def test_detection_columns_that_need_all_cases():
    peaks = {
        "a": [((5, 5, 5), 0.9, 5.0), ((13, 13, 13), 0.4, 5.0)],
        "b": [((5, 5, 5), 0.3, 9.0)],
        "h": [((9, 9, 9), 0.35, 5.0), ((1, 1, 1), 0.2, 5.0)],
    }
    cases = [tiny("a", "labelled"), tiny("b", "labelled"), tiny("h", "healthy")]
    report = evaluate_cases(Known(peaks), cases, {"detection": Detection()})
    # thresholds .9, .4, .35, .3: rates 0, 1/3, 2/3, 2/3; the second nodule is hit from 2/3 on
    assert report.lesions["froc_share"].tolist() == pytest.approx([1.0, 4 / 7])
    assert report.lesions["detected_at_1"].tolist() == [1.0, 1.0]
    assert report.lesions["detected_at_4"].tolist() == [1.0, 1.0]
    summary = summarise(report).set_index(["metric", "group"])
    for rate in (1, 4):
        row = summary.loc[(f"detected_at_{rate}", "lesions < 6 mm"), ["mean", "low", "high", "n"]]
        assert row.tolist() == list(wilson([1, 1]))
    assert report.cases["fp_at_80"].tolist() == [1, 0, 1]
    assert report.lesions["diameter_error_mm"].tolist() == pytest.approx([0.04, 4.04], abs=0.01)
    validated = [Detection().validate(CasePrediction(c, Known(peaks).case_maps(c), Known(peaks)))
                 for c in cases]  # fmt: skip
    pooled = Detection().pool(validated)
    assert pooled == {"cpm": pytest.approx(5.5 / 7), "healthy_findings": 1.0}


def test_detection_searches_the_findings_of_a_case_once(monkeypatch, tmp_path):
    searched = []

    def search(values, affine, **options):
        searched.append(values.shape)
        return find_centres(values, affine, **options)

    monkeypatch.setattr("semilung.tasks.detection.find_centres", search)
    known = Known({"a": [((5, 5, 5), 0.9, 5.0)]})
    case, tasks = tiny("a", "labelled"), {"detection": Detection()}
    evaluate_cases(known, [case], tasks, pictures=tmp_path)
    assert len(searched) == 1
    predicted = CasePrediction(case, known.case_maps(case), known)
    strict = Detection(min_probability=0.95)  # tasks of other options do not share
    assert len(tasks["detection"].evaluate(predicted).findings) == 1
    assert len(strict.evaluate(predicted).findings) == 0


def test_detection_without_a_nodule_is_undefined():
    report = evaluate_cases(
        Known({"h": [((9, 9, 9), 0.5, 5.0)]}), [tiny("h", "healthy")], {"detection": Detection()}
    )
    assert np.isnan(report.cases["fp_at_80"]).all()
    assert Detection().pool([{"healthy": True, "lesions": [], "findings": []}]) == {}


def test_detection_evaluates_scans_whose_nodules_are_points_alone():
    case = tiny("a", "labelled").case
    assert Detection().evaluates(replace(case, mask=None))
    assert not Detection().evaluates(replace(case, role="unlabelled", mask=None))


def test_detection_sensitivity_at_each_rate_by_hand():
    # three false positives per scan at .5, before the nodule of .2 is hit
    peaks = {
        "a": [
            ((5, 5, 5), 0.2, 5.0),
            *((at, 0.5, 5.0) for at in [(1, 1, 13), (1, 13, 1), (13, 1, 1)]),
        ]
    }
    lesions = evaluate_cases(
        Known(peaks), [tiny("a", "labelled")], {"detection": Detection()}
    ).lesions
    assert lesions["detected_at_1"].tolist() == [0]
    assert lesions["detected_at_4"].tolist() == [1]


@pytest.mark.parametrize(
    ("first", "second", "diameter"), [(np.nan, 7.0, 7.0), (5.0, 7.0, 5.0), (5.0, np.nan, 5.0)]
)
def test_lesion_of_two_tasks_has_the_diameter_of_the_first_that_knows_it(first, second, diameter):
    rows = [
        {"instance": 1, "diameter_mm": mm, name: 0} for mm, name in ((first, "a"), (second, "b"))
    ]
    joined = _joined([Evaluated({}, [row]) for row in rows])
    assert joined == [{"instance": 1, "diameter_mm": diameter, "a": 0, "b": 0}]


def test_detection_evaluation_draws_its_worst_false_positives(tmp_path):
    peaks = {
        "a": [((5, 5, 5), 0.9, 5.0), ((13, 13, 13), 0.8, 5.0)],
        "h": [((9, 9, 9), 0.7, 5.0), ((1, 1, 1), 0.2, 5.0)],
    }
    cases = [tiny("a", "labelled"), tiny("h", "healthy")]
    report = evaluate_cases(Known(peaks), cases, {"detection": Detection()}, pictures=tmp_path)
    assert report.findings["picture"].tolist() == ["", "3.png", "1.png", "2.png"]
    assert {path.name for path in (tmp_path / "findings").iterdir()} == {"1.png", "2.png", "3.png"}
    assert "picture" not in evaluate_cases(Known(peaks), cases, {"detection": Detection()}).findings


class Unmeasured(TinyCase):
    """The kit's case, its nodule a point without a diameter."""

    @property
    def nodules(self):
        return [nodule._replace(diameter_mm=None) for nodule in super().nodules]


def test_detection_nodule_without_diameter_counts_in_no_size_bin():
    case = tiny("a", "labelled")
    case = Unmeasured(case.case, case.files)
    peaks = {"a": [((5, 5, 5), 0.9, 5.0)]}
    lesions = evaluate_cases(Known(peaks), [case], {"detection": Detection()}).lesions
    assert lesions["probability"].tolist() == pytest.approx([0.9])
    assert [len(rows) for rows in by_size(lesions).values()] == [1, 0, 0, 0, 0]


def test_detection_options_out_of_range_are_errors_of_the_user():
    with pytest.raises(UserError, match="min_probability"):
        build_tasks({"detection": {"min_probability": 0}})


def test_detection_head_is_predicted_at_its_stride():
    net = build_model("reversible_unet", {"widths": (4, 8), "depth": 1}, heads={CENTRES: SIZE})
    config = InferenceConfig()
    predictor = Predictor([net], config, DataConfig(), {CENTRES: centre_values})
    assert predictor.maps(np.zeros((9, 8, 7), np.int16))[CENTRES].shape == (5, 5, 4, 4)


@pytest.mark.parametrize("format_", ["nii.gz", "mha"])
def test_predict_of_both_tasks_writes_mask_and_detected_findings(run, phantom, tmp_path, format_):
    scan = read_manifest(phantom)[0].image
    words = ("--out", tmp_path, "--page", "--format", format_)
    assert command("predict", scan, "--run", run, *words) == 0
    name = scan.name.removesuffix(".nii.gz")
    prediction = load(run).predict(scan)
    table = pd.read_csv(tmp_path / f"{name}_findings.csv")
    assert prediction.centres
    assert table["coordX"].tolist() == prediction.findings["coordX"].tolist()
    assert (tmp_path / f"{name}_nodules.{format_}").exists()
    assert (tmp_path / f"{name}.html").exists()
    labels = np.unique(prediction.labels.data)
    assert set(prediction.segments["label"]) == set(labels[labels > 0])


@pytest.mark.parametrize(
    ("names", "instances"), [(["2", "x"], [1, 2]), (["1", "01"], [1, 2]), (["7", "3"], [7, 3])]
)
def test_instances_of_nodules_are_distinct(names, instances):
    assert list(instance_numbers(names)) == instances


def test_detection_counts_no_lesion_of_another_task_as_missed():
    peaks = {"a": [((5, 5, 5), 0.9, 5.0)], "h": []}
    report = evaluate_cases(
        Known(peaks), [tiny("a", "labelled"), tiny("h", "healthy")], {"detection": Detection()}
    )
    other = pd.DataFrame([{"case": "a", "instance": 9, "diameter_mm": 4.0}])
    lesions = pd.concat([other, report.lesions], ignore_index=True)
    completed = Detection().complete(replace(report, lesions=lesions))
    assert completed.lesions["froc_share"].tolist() == pytest.approx([np.nan, 1.0], nan_ok=True)
    assert completed.cases["fp_at_80"].tolist() == [0, 0]
    assert FROC.line([completed]).y[-1] == 1


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_load_for_a_task_predicts_its_output_and_evaluates_no_other_head(run, phantom, task):
    scan = read_manifest(phantom)[0].image
    both, one = load(run), load(run, tasks=(task,))
    whole, part = both.predict(scan), one.predict(scan)
    assert list(one.tasks) == [task]
    kinds = {"detection": {"findings.csv"}, "segmentation": {"nodules", "findings.csv"}}
    assert set(part.outputs) - {"probability"} == kinds[task]
    for kind in set(part.outputs) - {"findings.csv"}:
        np.testing.assert_array_equal(part.outputs[kind].data, whole.outputs[kind].data)
    if task == "detection":
        pd.testing.assert_frame_equal(part.findings, whole.findings)
    heads = {"detection": {CENTRES}, "segmentation": {"logits"}}
    assert set(one.models[0](torch.zeros(1, 1, 8, 8, 8))) == heads[task]


def test_load_for_a_task_that_the_run_was_not_trained_for_is_an_error(trained):
    with pytest.raises(UserError, match="not trained for the task 'detection'; its tasks are seg"):
        load(trained, tasks=["detection"])


def test_predict_min_probability_replaces_that_of_the_run(run, phantom):
    scan = read_manifest(phantom)[0].image
    loaded = load(run, tasks=["detection"])
    table = loaded.predict(scan, min_probability=1e-6).findings
    least = float(table["probability"].median())
    probable = loaded.predict(scan, min_probability=least)
    assert 0 < len(probable.findings) < len(table)
    assert probable.findings["probability"].min() >= least - 1e-4
    assert probable.min_probability == least
    assert loaded.predict(scan).min_probability == 0.01
    with pytest.raises(UserError, match=r"--min-probability.* in \(0, 1\), got 2"):
        loaded.tasks_at(2.0)


def test_predict_min_probability_of_components_cuts_mask_labels_and_table_alike(tiny, phantom):
    """The net's probability is noise, so that a scan has many components."""

    class Net(torch.nn.Module):
        def forward(self, x):
            return {"logits": 4 * torch.sin(1000 * x)}

    scan = read_manifest(phantom)[0].image
    loaded = LoadedRun([Net()], tiny())
    table = loaded.predict(scan, threshold=0.97).findings
    least = float(table["probability"].median())
    probable = loaded.predict(scan, threshold=0.97, min_probability=least)
    pd.testing.assert_frame_equal(probable.findings, table[table["probability"] >= least])
    assert 0 < len(probable.findings) < len(table)
    assert probable.labels.data.max() == len(probable.findings)
    assert set(np.unique(probable.mask.data)) == {0, 1}
