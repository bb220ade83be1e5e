"""The task characterization: trained next to the others, evaluated, and added to findings."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from semilung.api.load import load
from semilung.config.compose import Composer
from semilung.config.schema import to_training
from semilung.data import Case, DataConfig, Nodule, read_manifest
from semilung.data.manifest.targets import Target
from semilung.inference import InferenceConfig
from semilung.strategies.core.nodule_pooling import DESCRIPTIONS
from semilung.tasks import CasePrediction, build_tasks, evaluate_cases
from semilung.tasks.characterization import predicted_value
from semilung.testing.problem import TinyCase
from semilung.types import UserError

VOTE = {"vote": {"kind": "binary", "values": ["benign", "malignant"]}}


class Evidence:
    """Maps of a constant evidence for each case."""

    data, inference = DataConfig(), InferenceConfig()

    def __init__(self, logits):
        self.logits = logits

    def case_maps(self, case, *, progress=None):
        inside = torch.full((1, 8, 8, 8), float(self.logits[case.name]))
        return {DESCRIPTIONS: torch.cat([inside, torch.zeros(2, 8, 8, 8)])}


def case(name, vote, diameter_mm):
    """A tiny case whose only nodule has a vote; none where it is empty."""
    nodule = Nodule("1", (5.5, 5.5, 5.5), diameter_mm, targets={"vote": vote} if vote else {})
    row = Case(name, name, Path(name), "labelled", mask=Path(name), nodules=(nodule,))
    return TinyCase(row, {"image": Path(name), "mask": Path(name)})


def test_characterization_evaluation_by_hand():
    task = build_tasks({"characterization": {"targets": VOTE}})
    votes = {"a": "benign", "b": "malignant", "c": "benign", "d": "malignant"}
    sizes = {"a": 5.0, "b": 6.0, "c": 9.0, "d": 12.0}
    cases = [case(name, votes[name], sizes[name]) for name in votes]
    logits = {"a": -2.0, "b": 1.0, "c": 0.0, "d": 3.0}
    report = evaluate_cases(Evidence(logits), cases, task)
    lesions = report.lesions.set_index("case")
    np.testing.assert_allclose(
        lesions["vote_predicted"], 1 / (1 + np.exp(-np.array(list(logits.values())))), rtol=1e-5
    )
    assert lesions["vote"].tolist() == [0, 1, 0, 1]
    assert lesions["auc_share"].mean() == 1
    assert lesions["size_auc_share"].mean() == 0.75  # 6 mm against 9 mm
    assert lesions["auc_gain"].mean() == 0.25


def test_characterization_leaves_out_the_middle_of_an_ordinal_target():
    rating = {"vote": {"kind": "ordinal", "values": ["1", "2", "3"]}}
    task = build_tasks({"characterization": {"targets": rating}})["characterization"]
    rows = {"vote": [1.0, 2.0, 3.0, np.nan], "vote_predicted": [0.1, 9.0, 0.9, 8.0]}
    shares = task._shares(pd.DataFrame({**rows, "diameter_mm": [5.0, 5.0, 5.0, 5.0]}))
    assert shares["auc_share"].isna().tolist() == [False, True, False, True]
    assert shares["auc_share"].mean() == 1
    assert shares["size_auc_share"].mean() == 0.5


def test_characterization_of_falling_ratings_ranks_by_the_class_and_not_by_the_number():
    rating = {"vote": {"kind": "ordinal", "values": ["3", "2", "1"]}}
    task = build_tasks({"characterization": {"targets": rating}})["characterization"]
    rows = {"vote": [1.0, 3.0], "vote_predicted": [1.4, 2.9], "diameter_mm": [9.0, 5.0]}
    assert task._shares(pd.DataFrame(rows))["auc_share"].mean() == 1


@pytest.mark.parametrize(
    ("votes", "values"),
    [
        (["benign", "benign"], r"vote of its 2 nodules are 0 \(2 times\)"),
        (["", ""], "vote of its 2 nodules are all missing"),
    ],
)
def test_pool_of_one_class_has_no_auc_and_says_why(votes, values):
    task = build_tasks({"characterization": {"targets": VOTE}})["characterization"]
    cases = [case(name, vote, 5.0) for name, vote in zip("ab", votes, strict=True)]
    predicted = Evidence({"a": -1.0, "b": 1.0})
    validated = [
        task.validate(CasePrediction(item, predicted.case_maps(item), predicted)) for item in cases
    ]
    with pytest.warns(UserWarning, match=f"only one class: the values of {values}"):
        assert np.isnan(task.pool(validated)["auc"])


def test_characterization_evaluates_cases_with_a_value_alone():
    task = build_tasks({"characterization": {"targets": VOTE}})["characterization"]
    assert task.evaluates(case("a", "benign", 5.0).case)
    assert not task.evaluates(case("a", "", 5.0).case)
    assert not task.evaluates(case("a", "unsure", 5.0).case)


def test_characterization_nodule_of_unknown_diameter_has_no_row():
    task = build_tasks({"characterization": {"targets": VOTE}})["characterization"]
    predicted = Evidence({"a": 0.0})
    item = case("a", "benign", None)
    assert task.evaluate(CasePrediction(item, predicted.case_maps(item), predicted)).lesions == []


@pytest.mark.parametrize(
    ("kind", "values", "outputs", "expected"),
    [
        ("binary", [0, 1], [0.0], 0.5),
        ("ordinal", [1, 2, 3], [99.0, -99.0], 3.0),
        ("ordinal", [1, 2, 3], [-99.0, 0.0], 1.0),
        ("ordinal", [[1, 2], 4, 10], [99.0, 99.0], 7.0),
        ("ordinal", [5, 3, 1], [99.0, -99.0], 1.0),
        ("ordinal", ["low", "mid", "high"], [99.0, -99.0], 2.0),
        ("ordinal", [1, 3, 2], [99.0, -99.0], 2.0),
        ("classes", ["a", ["b", "d"], "c"], [0.0, 3.0, 1.0], "b"),
        ("regression", [10, 30], [0.25], 15.0),
    ],
)
def test_predicted_value_of_each_kind(kind, values, outputs, expected):
    target = Target.of("name", {"kind": kind, "values": values})
    value = predicted_value(target, torch.tensor(outputs))
    assert value == (expected if kind == "classes" else pytest.approx(expected, abs=1e-5))


def test_characterization_without_a_target_that_ranks_is_refused():
    classes = {"texture": {"kind": "classes", "values": ["a", "b"]}}
    with pytest.raises(UserError, match="the first target must be binary or ordinal"):
        build_tasks({"characterization": {"targets": classes}})


def test_characterization_describes_the_findings_of_detection(described, phantom):
    prediction = load(described).predict(read_manifest(phantom)[0].image, min_probability=1e-4)
    findings = prediction.findings
    assert len(findings) > 0
    assert [*findings][-3:] == [*prediction.descriptions] == ["malignancy", "spiculated", "texture"]
    assert findings["malignancy"].between(1, 5).all()
    assert findings["spiculated"].between(0, 1).all()
    assert findings["texture"].isin(["solid", "part_solid", "ground_glass"]).all()
    rows = set(pd.read_csv(described / "metrics.csv")["name"])
    assert {"terms/nodule_targets/malignancy", "val/auc", "val/cpm", "val/dice"} <= rows


def test_targets_of_the_command_line_replace_the_default():
    words = ["tasks=characterization", f"tasks.characterization.targets={VOTE}".replace("'", "")]
    config = to_training(Composer().command(words))
    (task,) = build_tasks(config.tasks).values()
    assert [target.name for target in task.targets] == ["vote"]
    assert (
        config.strategies["nodule_targets"]["targets"]
        == config.tasks["characterization"]["targets"]
    )


@pytest.mark.parametrize("order", [("detection", "characterization", "segmentation"),
                                   ("characterization", "segmentation", "detection")])  # fmt: skip
def test_scan_outputs_are_the_centres_described_whatever_the_order_of_tasks(
    described, phantom, order
):
    run, scan = load(described), read_manifest(phantom)[0].image
    expected = run.predict(scan, min_probability=1e-4)
    ordered = run.for_tasks(order).predict(scan, min_probability=1e-4)
    assert ordered.centres
    assert ordered.min_probability == 1e-4
    pd.testing.assert_frame_equal(ordered.findings, expected.findings)
    components = run.for_tasks([name for name in order if name != "detection"]).predict(scan)
    assert not components.centres
    assert [*components.findings][-3:] == [*run.tasks["characterization"].descriptions]


def test_characterization_of_a_target_named_as_a_column_of_findings_is_refused():
    targets = {**VOTE, "probability": {"kind": "binary", "values": [0, 1]}}
    with pytest.raises(UserError, match="'probability' has the name of a column of findings"):
        build_tasks({"characterization": {"targets": targets}})
