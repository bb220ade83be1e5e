"""Ramp-up of weights in every strategy, and values out of range."""

import math

import pytest

from semilung.strategies import build_strategy
from semilung.strategies.core.ramps import Ramp
from semilung.testing import tiny_batch, tiny_learner
from semilung.types import UserError

RAMPED = {
    "mean_teacher": "consistency",
    "copy_paste": "labelled",
    "interpolation_consistency": "interpolation",
    "cross_pseudo": "unlabelled",
    "pseudo_label": "pseudo_label",
    "entropy_minimization": "entropy",
    "adversarial": "student",
    "anomaly": "anomaly",
    "nodule_insertion": "inserted",
    "mil": "bag",
}


@pytest.mark.parametrize("name", RAMPED)
def test_weights_grow_from_next_to_nothing(name):
    """So that what an untaught net says of unlabelled scans is not learnt from."""
    net = tiny_learner(lambda: build_strategy(name, {"weight": 0.8, "rampup": 0.5}))
    data = tiny_batch(*net.strategies.values())
    term = f"checked/{RAMPED[name]}"
    weights = [net(data, t)[term].weight for t in (0.0, 0.25, 0.5, 1.0)]
    assert weights == pytest.approx([0.8 * math.exp(-5), 0.8 * math.exp(-1.25), 0.8, 0.8])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pseudo_label", {"average": "al"}),
        ("nodule_insertion", {"window_hu": [0, 0]}),
        ("supervised", {"healthy_weight": -1.0}),
        ("mil", {"voxel_weight": -0.1}),
    ],
)
def test_weights_out_of_range_are_refused_before_the_first_step(name, options):
    with pytest.raises(UserError, match="refuses its options"):
        build_strategy(name, options)


def test_a_ramp_without_length_is_its_weight():
    assert Ramp(0.3)(0.0) == 0.3


def test_a_ramp_may_last_the_whole_training_or_not_at_all():
    whole, none = Ramp(2.0, 1.0), Ramp(2.0, 0.0)
    assert [whole(0.5), whole(1.0)] == pytest.approx([2 * math.exp(-1.25), 2])
    assert [none(0.0), none(1.0)] == [2, 2]
