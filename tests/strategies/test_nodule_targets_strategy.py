"""The supervised terms of characterization."""

import math

import pytest
import torch
from torch.nn import functional as F

from semilung.data.manifest.targets import Target
from semilung.strategies import build_strategy
from semilung.strategies.core.nodule_pooling import pool_nodule
from semilung.strategies.nodule_targets import described, nodule_share, target_loss
from semilung.testing.problem import TinyCase, _cases
from semilung.types import UserError

NAN = float("nan")
BINARY = Target.of("vote", {"kind": "binary", "values": [0, 1]})
CLASSES = Target.of("texture", {"kind": "classes", "values": ["a", "b", "c"]})
WIDTH = Target.of("width", {"kind": "regression", "values": [0, 10]})


def test_target_loss_of_each_kind_ignores_missing_values():
    outputs = torch.tensor([[0.5, -1.0, 2.0], [9.0, 9.0, 9.0], [-0.5, 0.0, 1.0]])
    numbers, ones = torch.tensor([1.0, NAN, 0.0]), torch.ones(3)
    known = torch.tensor([0, 2])
    binary = target_loss(BINARY, outputs[:, :1], numbers, ones[:2])
    expected = F.binary_cross_entropy_with_logits(outputs[known, 0], numbers[known])
    torch.testing.assert_close(binary, expected)
    classes = target_loss(CLASSES, outputs, numbers, torch.tensor([2.0, 1.0, 1.0]))
    each = F.cross_entropy(outputs[known], torch.tensor([1, 0]), reduction="none")
    torch.testing.assert_close(classes, (each[0] + 2 * each[1]) / 2)
    width = target_loss(WIDTH, outputs[:, :1], numbers, ones[:2])
    torch.testing.assert_close(width, torch.tensor((0.45 + 0.45) / 2))
    assert target_loss(BINARY, outputs[:, :1], torch.full((3,), NAN), ones[:2]) == 0


def test_described_leaves_out_padding_ignored_findings_and_centres_beyond_the_crop():
    maps, spacing = torch.randn(3, 8, 8, 8), torch.ones(3)
    nodules = torch.tensor(
        [[5, 5, 5, 6, 1], [9, 9, 9, 6, 0], [-3, 5, 5, 20, 1], [NAN] * 5, [5, 5, 5, NAN, 1]],
        dtype=torch.float32,
    )
    numbers = torch.stack([torch.full((5,), 3.0), torch.arange(5.0)], dim=1)
    outputs, targets = described(maps, nodules, numbers, spacing, None, (16, 16, 16))
    expected = pool_nodule(maps, (5, 5, 5), 6.0, (1, 1, 1), unzoomed_mm=3.0)
    torch.testing.assert_close(outputs, expected[None])
    assert targets.tolist() == [[0.0]]


def test_nodule_share_is_the_part_of_each_voxel_and_ignores_255():
    instances = torch.zeros(1, 1, 4, 4, 3, dtype=torch.uint8)
    instances[0, 0, 0, 0, 0], instances[0, 0, 2:, 2:, :2], instances[0, 0, 0, 3, 2] = 1, 3, 255
    share = nodule_share(instances)
    assert share.shape == (1, 2, 2, 2)
    assert share[0, 0, 0, 0] == 0.125
    assert share[0, 1, 1, 0] == 1
    assert share.sum() == 1.125


def test_before_training_balances_classes_by_their_number():
    values = [0, 0, 0, 0, 1, 1]
    target = {"vote": {"kind": "binary", "values": [0, 1]}}
    strategy = build_strategy("nodule_targets", {"targets": target, "balanced": True})
    cases = [case_with({"vote": str(value)}, i) for i, value in enumerate(values)]
    strategy.before_training({"labelled": cases})
    assert strategy.class_weights_vote.tolist() == pytest.approx([6 / (2 * 4), 6 / (2 * 2)])


@pytest.mark.parametrize(
    ("values", "message"), [(["", ""], "no training nodule has a value"), (["4", "4"], "same one")]
)
def test_before_training_without_different_values_is_refused(values, message):
    strategy = build_strategy("nodule_targets")
    cases = [case_with({"malignancy": value}, i) for i, value in enumerate(values)]
    with pytest.raises(UserError, match=message):
        strategy.before_training({"labelled": cases})


def case_with(targets, i):
    case = _cases({"checked": build_strategy("nodule_targets")})["labelled"][i]
    (nodule,) = case.case.nodules
    object.__setattr__(nodule, "targets", targets)
    return TinyCase(case.case, case.files)


def test_options_out_of_range_are_refused():
    with pytest.raises(UserError, match="kind must be one of"):
        build_strategy("nodule_targets", {"targets": {"a": {"kind": "x", "values": [1, 2]}}})
    assert math.isclose(build_strategy("nodule_targets").weight, 1.0)


@pytest.mark.parametrize(
    ("centre", "warned"),
    [((5.5, 5.5, 5.5), ""), ((5.5, 5.5, 2.0), "5 in z"), ((13.5, 5.5, 2.0), "5 in x, 5 in z")],
)
def test_before_training_warns_of_nodules_at_the_ends_of_their_volumes(centre, warned, recwarn):
    strategy = build_strategy("nodule_targets")
    cases = [case_with({"malignancy": str(value)}, value) for value in range(1, 6)]
    for case in cases:
        object.__setattr__(case.case.nodules[0], "centre_mm", centre)
    strategy.before_training({"labelled": cases})
    messages = [str(warning.message) for warning in recwarn]
    assert len(messages) == bool(warned)
    if warned:
        assert f"of 5 nodules these reach the end of their volume: {warned}; their" in messages[0]
