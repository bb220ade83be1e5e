"""Entropy minimization: value and gradient."""

import pytest
from pixel_nets import logit, pixel_learner

from semilung.strategies import Term
from semilung.strategies.entropy_minimization import EntropyMinimization
from semilung.testing import check_strategy


def run(probs, progress=1.0, **options):
    learner = pixel_learner(EntropyMinimization(**options))
    term = learner({"unlabelled": {"weak": logit(probs)}}, progress)["s/entropy"]
    return learner, term


def test_golden():
    # H(1/2) = 1 bit, H(1/4) = 0.8112781 bits
    _, term = run([0.5, 0.25, 0.75, 0.5])
    assert term.value.item() == pytest.approx((2 + 2 * 0.8112781) / 4)


def test_a_step_down_makes_each_voxel_surer_of_what_it_says():
    learner, term = run([0.9, 0.6, 0.3, 0.1])
    term.value.backward()
    downhill = -learner.student.outputs[0].grad.flatten()
    assert (downhill > 0).tolist() == [True, True, False, False]


def test_the_undecided_voxel_has_no_direction():
    learner, term = run([0.5])
    term.value.backward()
    assert learner.student.outputs[0].grad.item() == pytest.approx(0, abs=1e-6)


def test_weight_ramps():
    assert run([0.5], progress=0.0, weight=0.2)[1].weight == pytest.approx(0.2 * 0.006737947)
    assert run([0.5], progress=0.4, weight=0.2)[1].weight == 0.2


class DetachedEntropy(EntropyMinimization):
    def terms(self, step):
        return {n: Term(t.value.detach(), t.weight) for n, t in super().terms(step).items()}


def test_the_kit_catches_a_missing_gradient():
    with pytest.raises(AssertionError, match="no gradient"):
        check_strategy(DetachedEntropy)
