"""Learned weights of tasks, alone and in a training."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from same_bits import same

from semilung.runs.checkpoint import load_checkpoint
from semilung.strategies import Term
from semilung.strategies.core.task_weights import TaskWeights
from semilung.training import OptimConfig, build_learner, loop, train
from semilung.training.optim import build_optimizer
from semilung.types import UserError


def test_task_weights_loss_and_gradients_by_hand():
    weights = TaskWeights({"one": "a", "two": "b"})
    with torch.no_grad():
        weights.log_variances["a"].fill_(0.5)
        weights.log_variances["b"].fill_(-1.0)
    values = torch.tensor([2.0, 3.0, 5.0, 7.0], requires_grad=True)
    terms = {
        "one/x": Term(values[0]),
        "one/y": Term(values[1], 0.1),
        "two/x": Term(values[2]),
        "other/x": Term(values[3], 2.0),
    }
    loss = weights.loss(terms)
    a, b = torch.exp(torch.tensor([-0.5, 1.0])).tolist()
    assert loss.item() == pytest.approx(a * 2.3 + 0.5 + b * 5 - 1 + 14)
    loss.backward()
    assert values.grad.tolist() == pytest.approx([a, 0.1 * a, b, 2.0])
    gradients = {task: s.grad.item() for task, s in weights.log_variances.items()}
    assert gradients == pytest.approx({"a": 1 - a * 2.3, "b": 1 - b * 5})


def test_task_weights_tend_to_the_inverse_of_the_loss():
    weights = TaskWeights({"one": "a", "two": "b"})
    optimizer = torch.optim.SGD(weights.parameters(), lr=0.2)
    terms = {"one/x": Term(torch.tensor(4.0)), "two/x": Term(torch.tensor(0.5))}
    for _ in range(60):
        optimizer.zero_grad()
        weights.loss(terms).backward()
        optimizer.step()
    learned = {task: weight.item() for task, weight in weights.by_task().items()}
    assert learned == pytest.approx({"a": 0.25, "b": 2.0}, rel=1e-3)


def config_of(tiny, task_weights):
    config = tiny(validate_every=0)
    return replace(
        config,
        tasks={"segmentation": {}, "detection": {}},
        strategies={},
        optim=replace(config.optim, task_weights=task_weights),
    )


def test_task_weights_are_in_the_optimizer_without_weight_decay(tiny):
    learner = build_learner(config_of(tiny, "uncertainty"))
    optimizer = build_optimizer(
        learner.param_groups(), OptimConfig(), undecayed=learner.undecayed_parameters()
    )
    last = optimizer.param_groups[-1]
    assert [id(p) for p in last["params"]] == [id(p) for p in learner.task_weights.parameters()]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-2, 0]
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in learner.parameters() if p.requires_grad)


def test_task_weights_are_learned_logged_and_resumed_with_the_same_bits(
    tiny, tmp_path, monkeypatch
):
    config = config_of(tiny, "uncertainty")
    train(config, tmp_path / "whole")
    whole = load_checkpoint(tmp_path / "whole/last.pt")
    rows = pd.read_csv(tmp_path / "whole/metrics.csv")
    for task in ("segmentation", "detection"):
        logged = rows.loc[rows["name"] == f"weights/{task}", "value"]
        assert logged.iloc[0] == 1
        assert logged.nunique() >= 5  # the first step has a rate of 0
        assert whole["learner"][f"task_weights.log_variances.{task}"] != 0

    optimize = loop._optimize

    def stop(training, batch):
        if training.step == 5:
            raise RuntimeError("power cut")
        return optimize(training, batch)

    monkeypatch.setattr(loop, "_optimize", stop)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, tmp_path / "cut")
    monkeypatch.undo()
    train(config, tmp_path / "cut", resume=True)
    assert same(whole, load_checkpoint(tmp_path / "cut/last.pt"))


def test_fixed_task_weights_leave_no_trace(tiny):
    learner = build_learner(config_of(tiny, "fixed"))
    assert learner.task_weights is None
    assert not [name for name in learner.state_dict() if "task_weights" in name]
    terms = {"supervised/x": Term(torch.tensor(0.3), 0.7), "b/y": Term(torch.tensor(0.1))}
    assert learner.loss(terms) == torch.stack([0.7 * torch.tensor(0.3), torch.tensor(0.1)]).sum()


def test_task_weights_of_one_task_are_refused(tiny):
    config = replace(config_of(tiny, "uncertainty"), tasks={"detection": {}})
    with pytest.raises(UserError, match="this training has detection alone"):
        build_learner(config)
