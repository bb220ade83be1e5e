"""Terms that teach the student, and terms that only look as if they did."""

import copy
import math

import pandas as pd
import pytest
import torch
from torch import nn

from semilung.strategies import Learner, Strategy, Term
from semilung.strategies.core.strategy import Needs, metric
from semilung.training.audits import audit_term_effect, is_moment, measure_gradients

BATCH = {"labelled": {"weak": torch.ones(1, 1, 1, 1, 1)}}


class Scale(nn.Module):
    """A student of one weight: its logits are w x, so a term a w x has gradient a."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return {"logits": self.w * x}


class Pull(Strategy):
    """One term: `factor` times the student's output, and whatever else a test asks for."""

    needs = Needs(views={"labelled": ("weak",)})

    def __init__(self, factor, weight=1.0, *, detached=False, owns=False):
        super().__init__()
        self.factor, self.weight, self.detached = factor, weight, detached
        self.own = nn.Parameter(torch.tensor(2.0)) if owns else None
        self.register_buffer("calls", torch.zeros(()))

    def terms(self, step):
        self.calls += 1
        out = step.out("labelled")["logits"].sum() + 0 * torch.rand(())
        value = self.factor * (out.detach() if self.detached else out)
        if self.own is not None:
            value = value * self.own
        return {"term": Term(value, self.weight), "note": metric(out)}


def learner(**strategies):
    return Learner(Scale(), {"supervised": Pull(2.0), **strategies})


def measured(module):
    return measure_gradients(module, BATCH, 1.0, seed=0)


def audit(rows):
    return audit_term_effect(rows, "supervised/labelled")


def run(rows):
    """`metrics.csv` of `(step, name, value)`."""
    return pd.DataFrame(rows, columns=["step", "name", "value"])


def audited(**strategies):
    """The audit of one moment of a learner."""
    figures = {k.replace("supervised/term", "supervised/labelled"): v for k, v in
               measured(learner(**strategies)).items()}  # fmt: skip
    weights = {f"weights/{name}/term": made.weight for name, made in strategies.items()}
    return audit(run([(4, k, v) for k, v in {**figures, **weights}.items()]))


def test_norms_are_of_the_weighted_terms():
    figures = measured(learner(a=Pull(3.0, 0.5), b=Pull(-4.0, 2.0, owns=True)))
    assert figures == {
        "gradients/supervised/term": 2.0,
        "gradients/a/term": 1.5,
        "gradients/b/term": 16.0,  # 2 * 4 * own weight 2
        "own_gradients/b/term": 8.0,  # 2 * 4 * student's output 1
    }


def test_a_loss_scale_is_taken_out():
    assert measure_gradients(learner(), BATCH, 1.0, seed=0, scale=64.0) == measured(learner())


def test_measuring_changes_nothing():
    module = learner(a=Pull(3.0, owns=True))
    before, noise = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    measured(module)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), noise)
    assert all(p.grad is None for p in module.parameters())


def test_a_term_that_teaches_is_recognised_by_its_share():
    found = audited(a=Pull(3.0, 0.5))
    assert found.status == "ok"
    assert found.metrics == {"a/term": 0.75}


@pytest.mark.parametrize("broken", [Pull(1.0, detached=True), Pull(1e-7)])
def test_a_term_that_teaches_nothing_is_caught(broken):
    found = audited(a=Pull(3.0), b=broken)
    assert found.status == "warning"
    assert "b/term has a weight and gives the student no gradient" in found.summary
    assert "a/term" not in found.summary
    assert "check_strategy" in found.advice


def test_a_share_just_above_the_bound_is_enough():
    assert audited(a=Pull(4e-6)).status == "ok"


def test_a_strategy_that_teaches_only_its_own_player_is_caught():
    found = audited(a=Pull(1.0, detached=True, owns=True))
    assert found.summary == "a teaches only what it owns, and the student nothing"


def test_an_adversary_may_teach_its_own_player_next_to_the_student():
    rows = [
        (5, "gradients/supervised/labelled", 2.0),
        (5, "gradients/x/discriminator", 0.0),
        (5, "own_gradients/x/discriminator", 1.0),
        (5, "gradients/x/student", 0.5),
        (5, "own_gradients/x/student", 0.0),
    ]
    assert audit(run(rows)).status == "ok"


def test_weight_0_throughout_is_reported_and_a_late_ramp_is_not():
    gradients = [(4, "gradients/supervised/labelled", 2.0), (4, "gradients/a/t", math.nan)]
    never = [(2, "weights/a/t", 0.0), (4, "weights/a/t", 0.0)]
    assert "a/t has weight 0 throughout" in audit(run(gradients + never)).summary
    once = [(2, "weights/a/t", 0.3), (4, "weights/a/t", 0.0)]
    assert audit(run(gradients + once)).status == "ok"


def test_the_largest_share_of_all_moments_counts():
    rows = [(s, "gradients/supervised/labelled", 2.0) for s in (2, 3, 4)]
    rows += [(2, "gradients/a/t", 0.0), (3, "gradients/a/t", 1.0), (4, "gradients/a/t", 0.0)]
    found = audit(run(rows))
    assert (found.status, found.metrics) == ("ok", {"a/t": 0.5})


def test_a_term_of_weight_0_is_measured_as_undefined_and_a_metric_not_at_all():
    figures = measured(learner(a=Pull(3.0, 0.0)))
    assert math.isnan(figures["gradients/a/term"])
    assert not any("note" in name for name in figures)


def test_a_supervised_run_has_no_terms_to_compare():
    rows = [(4, "gradients/supervised/labelled", 2.0)]
    assert audit(run(rows)).status == "not applicable"


def test_short_trainings_have_moments_too():
    assert [s for s in range(1, 7) if is_moment(s, 6)] == [3, 4, 6]
    assert is_moment(1, 1)
