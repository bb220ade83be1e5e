"""Trainings that start from a run of other tasks, and leave a part of its weights as they are."""

from dataclasses import replace

import pytest
import torch

from semilung.models import build_model
from semilung.runs.checkpoint import load_checkpoint
from semilung.training import build_learner, train
from semilung.training.frozen import freeze
from semilung.types import UserError

TASKS = {"segmentation": {}, "characterization": {}}


def config_of(tiny, tasks, *, init=None, frozen=()):
    config = tiny(max_steps=2, validate_every=0)
    return replace(
        config,
        tasks={name: {} for name in tasks},
        strategies={},
        optim=replace(config.optim, frozen=tuple(frozen), warmup=0.0),
        init=None if init is None else str(init),
    )


def student_of(run):
    weights = load_checkpoint(run / "last.pt")["learner"]
    prefix = "student."
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


@pytest.fixture(scope="module")
def segmentation(tiny, tmp_path_factory):
    """A run of segmentation alone."""
    folder = tmp_path_factory.mktemp("runs") / "segmentation"
    train(config_of(tiny, ["segmentation"]), folder)
    return folder


def changed(before, after):
    """The names of weights that differ, of those that both have."""
    return {k for k in before if k in after and not torch.equal(before[k], after[k])}


@pytest.mark.parametrize(
    ("frozen", "trained"),
    [
        ((), ("stem", "encoder", "down", "up", "decoder")),
        (("encoder",), ("up", "decoder")),
        (("body",), ()),
        (("backbone.decoder.*", "*.stem.*"), ("encoder", "down", "up")),
    ],
)
def test_characterization_from_a_segmentation_run_trains_what_is_not_frozen(
    tiny, segmentation, tmp_path, frozen, trained
):
    config = config_of(tiny, ["characterization"], init=segmentation, frozen=frozen)
    start = build_learner(config).student.state_dict()
    train(config, tmp_path / "run")
    before, after = student_of(segmentation), student_of(tmp_path / "run")
    assert not changed(before, start)
    parts = {name.split(".")[1] for name in changed(before, after)}
    assert parts == set(trained)
    heads = {name for name in start if name.startswith("heads.")}
    assert changed(start, after) >= heads > set()
    assert not [name for name in after if name.startswith("backbone.head.")]


@pytest.mark.parametrize("backend", ["fused", "memcnn", "checkpoint"])
@pytest.mark.parametrize(
    "frozen", ["encoder", "backbone.encoder.1.*", "backbone.decoder.*", "*.f.*"]
)
def test_frozen_parts_have_no_gradient_and_others_that_of_the_plain_engine(backend, frozen):
    gradients = {}
    for engine in ("plain", backend):
        torch.manual_seed(0)
        options = {"widths": (4, 8, 8), "depth": 2, "dropout": 0.0, "backend": engine}
        net = build_model("reversible_unet", options)
        freeze(net, [frozen])
        x = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
        net(x)["logits"].square().mean().backward()
        gradients[engine] = {name: p.grad for name, p in net.named_parameters()}
    for name, expected in gradients["plain"].items():
        if expected is None:
            assert gradients[backend][name] is None, name
        else:
            torch.testing.assert_close(gradients[backend][name], expected, rtol=1e-3, atol=1e-6)
    assert None in gradients["plain"].values()


def test_init_keeps_the_heads_of_common_tasks_and_draws_others(tiny, segmentation, tmp_path):
    both = tmp_path / "both"
    train(config_of(tiny, TASKS), both)
    saved = student_of(both)
    three = build_learner(config_of(tiny, ["detection", *TASKS], init=both)).student.state_dict()
    assert not changed(saved, three)
    assert set(three) - set(saved) == {name for name in three if name.startswith("heads.centres.")}
    train(config_of(tiny, ["characterization"], init=both), tmp_path / "alone")
    back = build_learner(config_of(tiny, ["segmentation"], init=tmp_path / "alone")).student
    drawn = build_learner(config_of(tiny, ["segmentation"])).student.state_dict()
    started = back.state_dict()
    assert torch.equal(started["backbone.head.1.weight"], drawn["backbone.head.1.weight"])
    alone = student_of(tmp_path / "alone")
    assert not changed({k: v for k, v in alone.items() if k.startswith("backbone.")}, started)


def test_init_of_other_targets_draws_the_head_anew(tiny, segmentation, tmp_path):
    config = config_of(tiny, ["characterization"], init=segmentation)
    train(config, tmp_path / "run")
    vote = {"malignancy": {"kind": "binary", "values": [[1, 2, 3], [4, 5]]}}
    other = replace(
        config, init=str(tmp_path / "run"), tasks={"characterization": {"targets": vote}}
    )
    student = build_learner(other).student
    assert student.heads["descriptions"].last.weight.shape[0] == 3


def test_frozen_weights_are_not_in_the_optimizer_and_the_teacher_keeps_them(tiny, segmentation):
    config = config_of(tiny, ["segmentation"], init=segmentation, frozen=["encoder"])
    learner = build_learner(replace(config, strategies={"mean_teacher": {}}))
    ((group, _),) = learner.param_groups()
    names = {id(p): name for name, p in learner.student.named_parameters()}
    trained = {names[id(p)].split(".")[1] for p in group}
    assert trained == {"head", "up", "decoder"}
    assert learner.teacher is not None


@pytest.mark.parametrize(
    ("frozen", "message"),
    [
        (["enc"], r"no parameter of the network is named 'enc'; give body, encoder, or patterns"),
        (["body", "backbone.head.*"], r"leaves nothing of the network to train"),
        (["*"], r"leaves nothing of the network to train"),
    ],
)
def test_frozen_of_nothing_or_everything_is_an_error(tiny, segmentation, frozen, message):
    with pytest.raises(UserError, match=message):
        build_learner(config_of(tiny, ["segmentation"], init=segmentation, frozen=frozen))


def test_frozen_without_init_warns_of_random_weights(tiny):
    with pytest.warns(UserWarning, match=r"keeps random weights, .* add init=RUN"):
        build_learner(config_of(tiny, ["segmentation"], frozen=["encoder"]))


@pytest.mark.parametrize("name", ["dynunet", "segresnet"])
def test_freeze_encoder_of_other_networks_leaves_the_decoder(name):
    options = {"filters": (4, 8, 16)} if name == "dynunet" else {"init_filters": 8}
    student = build_model(name, options)
    freeze(student, ["encoder"])
    trained = {n.split(".")[2] for n, p in student.named_parameters() if p.requires_grad}
    assert trained & {"upsamples", "up_layers"}
    assert not trained & {"input_block", "downsamples", "bottleneck", "convInit", "down_layers"}


def test_frozen_parts_and_a_second_student_are_refused(tiny, segmentation):
    config = config_of(tiny, ["segmentation"], init=segmentation, frozen=["encoder"])
    config = replace(config, strategies={**config.strategies, "cross_pseudo": {}})
    with pytest.raises(UserError, match="trains a second one"):
        build_learner(config)
