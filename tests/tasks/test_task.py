"""A task of another package, one file and one YAML: trained, evaluated, reported, predicted with.

The task is `third_party/yourlab/mean_hu.py`; nothing in semilung knows of it.
"""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_settings import TINY

from semilung.ablation import ablate
from semilung.api.evaluate import evaluate
from semilung.api.load import load
from semilung.api.predict_files import predict
from semilung.api.report import report
from semilung.api.train import train
from semilung.models import Segmenter
from semilung.report import read_study
from semilung.runs import TrainConfig, load_predictor
from semilung.strategies.core.strategy import strategies
from semilung.tasks import build_tasks, tasks
from semilung.testing import check_strategy
from semilung.training import build_learner
from semilung.types import UserError

PACKAGE = Path(__file__).parents[1] / "third_party"
BOTH = "tasks=[segmentation,mean_hu]"


@pytest.fixture(scope="module", autouse=True)
def _mean_hu():
    """Register the task for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        for registry in (tasks, strategies):
            patch.setattr(registry, "_factories", dict(registry._factories))
        patch.syspath_prepend(PACKAGE)
        import_module("yourlab.mean_hu")
        yield
        for name in [name for name in sys.modules if name.startswith("yourlab")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def settings(phantom):
    return [*TINY, f"data.manifest={phantom}", f"data.cache={phantom.parent / 'cache'}"]


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory):
    """Return a function that trains some tasks and returns the run's folder."""
    folder = tmp_path_factory.mktemp("runs")
    trained = {}

    def of(word):
        if word not in trained:
            words = [word, *settings, f"runs_dir={folder}"]
            trained[word] = train(words, config_dir=PACKAGE / "configs").run
        return trained[word]

    return of


@pytest.fixture
def forward_passes():
    """Return a list that gets the heads of each forward pass of a student."""
    passes = []

    def count(module, inputs, outputs):
        if isinstance(module, Segmenter):
            passes.append(sorted(outputs))

    handle = torch.nn.modules.module.register_module_forward_hook(count)
    yield passes
    handle.remove()


def logged(run):
    return set(pd.read_csv(run / "metrics.csv")["name"])


def test_task_alone_trains_only_its_terms_and_has_only_its_head(run):
    names = logged(run("tasks=mean_hu"))
    assert {n for n in names if n.startswith("terms/")} == {"terms/mean_hu/l1"}
    assert {n for n in names if n.startswith("val/")} == {"val/mean_hu_error"}
    net = load_predictor(run("tasks=mean_hu"))
    assert list(net(torch.zeros(1, 1, 8, 8, 8))) == ["hu"]
    assert not [name for name, _ in net.named_parameters() if name.startswith("backbone.head")]
    assert (run("tasks=mean_hu") / "best.pt").exists()  # the lowest error, its sign changed
    best = torch.load(run("tasks=mean_hu") / "best.pt", weights_only=True)["best"]
    values = pd.read_csv(run("tasks=mean_hu") / "metrics.csv").set_index("name")["value"]
    assert best == pytest.approx(-values["val/mean_hu_error"].min())


def test_task_alone_is_evaluated_and_predicted_with(run, phantom, tmp_path):
    evaluation = evaluate(run("tasks=mean_hu"), split="val")
    cases = pd.read_csv(evaluation.folder / "cases.csv").set_index("case")
    assert list(cases) == ["cohort", "role", "mean_hu_error"]
    labelled = cases["role"] == "labelled"
    assert (cases.loc[labelled, "mean_hu_error"] > 0).all()
    lesions = pd.read_csv(evaluation.folder / "lesions.csv")
    errors = (lesions["mean_hu"] - lesions["predicted_mean_hu"]).abs().groupby(lesions["case"])
    np.testing.assert_allclose(errors.mean(), cases.loc[labelled, "mean_hu_error"])
    summary = evaluation.summary.set_index("metric").loc["mean_hu_error"]
    assert summary["group"] == "positive"
    assert summary["unit"] == "HU"
    assert summary["mean"] == pytest.approx(cases["mean_hu_error"].mean())
    scan = next((phantom.parent / "images").glob("*.nii.gz"))
    (path,) = predict(run("tasks=mean_hu"), scan, tmp_path)
    assert path.name == f"{scan.name.removesuffix('.nii.gz')}_mean_hu.csv"
    assert pd.read_csv(path)["mean_hu"].notna().all()
    with pytest.raises(UserError, match=r"do not predict nodules; they predict mean_hu\.csv"):
        _ = load(run("tasks=mean_hu")).predict(scan).mask


def test_task_without_probabilities_refuses_what_reads_them(run, phantom, tmp_path):
    scan = next((phantom.parent / "images").glob("*.nii.gz"))
    with pytest.raises(UserError, match="which no task of this run predicts"):
        predict(run("tasks=mean_hu"), scan, tmp_path, confident=0.9)
    with pytest.raises(UserError, match="which no task of this run predicts"):
        evaluate(run("tasks=mean_hu"), split="val", out=tmp_path, threshold="val")


def test_two_tasks_share_each_forward_pass(run, tmp_path, forward_passes):
    counts = {}
    for word in ("tasks=segmentation", BOTH):
        folder = run(word)
        forward_passes.clear()
        evaluation = evaluate(folder, split="val", out=tmp_path / word)
        counts[word] = len(forward_passes)
    assert counts[BOTH] == counts["tasks=segmentation"] > 0
    assert forward_passes[0] == ["hu", "logits"]
    cases = pd.read_csv(evaluation.folder / "cases.csv")
    assert {"dice", "mean_hu_error"} <= set(cases)
    lesions = pd.read_csv(evaluation.folder / "lesions.csv")  # a row a lesion, of both tasks
    assert lesions[["detected", "predicted_mean_hu"]].notna().all(axis=None)
    assert not lesions.duplicated(["case", "instance"]).any()
    names = logged(run(BOTH))
    assert {"terms/supervised/labelled", "terms/mean_hu/l1", "val/dice"} <= names
    assert {"val/mean_hu_error", "gradients/mean_hu/l1"} <= names


def test_segmentation_next_to_another_task_is_evaluated_as_alone(run, tmp_path):
    alone = evaluate(run("tasks=segmentation"), split="val", out=tmp_path / "alone").report.cases
    assert list(alone)[3:5] == ["threshold", "dice"]
    both = evaluate(run(BOTH), split="val", out=tmp_path / "both").report.cases
    assert [name for name in both if name in set(alone)] == list(alone)


def test_arms_of_a_task_are_compared_by_its_score(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["tasks=mean_hu", "strategy=supervised", "strategies.mean_hu.weight=1.0,0.1"]
    sweep = ablate(
        [*words, "baselines=false", "sweep_dir=s", *settings], config_dir=PACKAGE / "configs"
    )
    results = pd.read_csv(sweep / "results.csv")
    assert results["mean_hu_error"].notna().all()
    assert set(results["arm"]) == {"supervised"}
    text = report(sweep).read_text()
    for part in ("Error of the mean HU (HU)", "l1 loss", "validation Error of the mean HU"):
        assert part in text
    assert "Dice" not in text
    arms = pd.read_csv(sweep / "report/tables/arms.csv")
    assert arms["mean"].tolist() == pytest.approx(results["mean_hu_error"].tolist())
    metrics = pd.read_csv(sweep / "report/tables/metrics.csv").set_index("metric")
    assert metrics.loc["Error of the mean HU", ["unit", "better"]].tolist() == ["HU", "lower"]


def test_report_of_two_tasks_compares_by_either(run, tmp_path):
    evaluate(run(BOTH), split="val")
    page = report(run(BOTH), out=tmp_path / "default", split="val").read_text()
    assert "--metric dice" in page
    page = report(run(BOTH), out=tmp_path / "hu", split="val", metric="mean_hu_error").read_text()
    assert "(Error of the mean HU " in page
    assert "--metric mean_hu_error" in page
    tables = pd.read_csv(tmp_path / "hu/tables/metrics.csv")["metric"].tolist()
    assert {"Dice", "Error of the mean HU"} <= set(tables)


def test_task_resumes(run):
    train([f"resume={run(BOTH)}", "trainer.max_steps=5"], config_dir=PACKAGE / "configs")
    state = torch.load(run(BOTH) / "last.pt", weights_only=True)
    assert (state["step"], state["heads"], state["logits"]) == (5, {"hu": 1}, True)


def test_base_strategy_of_a_task_passes_the_conformance_kit():
    check_strategy("mean_hu")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tasks=mean_hu", "strategy=mean_teacher"], "'mean_teacher' learns from outputs of segm"),
        (["tasks=mean_hu", "tasks.mean_hu.offset=a"], "offset is a number, got 'a'"),
        (["tasks=mean_uh"], "no task 'mean_uh'; did you mean mean_hu"),
        (["tasks=[]"], "a training needs a task; name one of characterization, detection, mean_hu"),
    ],
)
def test_invalid_tasks_are_errors_of_the_user(settings, tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        train([*words, *settings, f"runs_dir={tmp_path}"], config_dir=PACKAGE / "configs")
    assert not list(tmp_path.iterdir())


def test_build_tasks_unknown_task_is_an_error():
    with pytest.raises(UserError, match="unknown task 'segmentaton'; did you mean segmentation"):
        build_tasks({"segmentaton": {}})


@pytest.mark.parametrize(
    ("names", "bases"),
    [
        (["segmentation"], ["supervised"]),
        (["mean_hu"], ["mean_hu"]),
        (["mean_hu", "segmentation"], ["mean_hu", "supervised"]),
    ],
)
def test_build_learner_adds_the_bases_of_the_tasks_alone(names, bases):
    model = {"name": "reversible_unet", "widths": [4, 8], "depth": 1}
    learner = build_learner(TrainConfig(tasks=dict.fromkeys(names), model=model))
    assert list(learner.strategies) == bases
    head = bool(list(learner.student.backbone.head.parameters()))
    assert head == ("segmentation" in names)


@pytest.mark.parametrize("name", ["pseudo_label", "cross_pseudo", "mil", "mean_teacher"])
def test_build_learner_of_detection_alone_reads_no_mask(name):
    model = {"name": "reversible_unet", "widths": [4, 8], "depth": 1}
    for names in (["detection"], ["segmentation"], ["segmentation", "detection"]):
        config = TrainConfig(tasks=dict.fromkeys(names), strategies={name: {}}, model=model)
        fields = build_learner(config).fields()
        assert ("mask" in fields) == ("segmentation" in names)
        assert ("nodules" in fields) == ("detection" in names)


def test_last_checkpoint_is_the_best_if_its_score_is_by_its_direction(run):
    evaluate(run("tasks=mean_hu"), split="val")
    curves = pd.read_csv(run("tasks=mean_hu") / "metrics.csv").set_index("name")
    errors = curves.loc["val/mean_hu_error", "value"].tolist()
    (read,) = read_study([run("tasks=mean_hu")], "val").runs
    assert (read.best is not None) == (errors[-1] < errors[0])
