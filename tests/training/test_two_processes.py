"""Two processes train what one with the doubled batch would, and end together."""

import math
from dataclasses import replace

import pytest
from team_work import (
    agreed_error,
    agreed_things,
    digests_after_steps,
    fails_in_one,
    gradient_errors,
    with_devices,
)

from semilung.strategies import list_strategies
from semilung.training import train
from semilung.training.checkpoint import load_checkpoint
from semilung.training.launch import in_processes
from semilung.types import UserError

QUIET = {"mean_teacher": {"noise": 0.0}, "copy_paste": {"box": 0.999}}
"""Options under which a strategy draws nothing at random."""

NOT_OF_THE_DOUBLED_BATCH = {
    "interpolation_consistency": "mixes a crop with the next one of its process, by a drawn share",
    "anomaly": "puts patches of one crop of its process into another, at drawn places",
    "nodule_insertion": "inserts nodules at drawn places, real ones of its process's crops",
}
"""Their gradients are still the mean of what the two processes find."""


def check_gradients(makers):
    found = in_processes(2, gradient_errors, makers)
    for name, (names, _, _) in makers.items():
        (mean, whole, buffers), other = found[name]
        assert mean < 1e-4, f"{name}: DDP's gradient is not the mean of the processes' ({mean})"
        assert other[0] == mean, name
        if not set(names) & set(NOT_OF_THE_DOUBLED_BATCH):
            assert whole < 1e-4, f"{name}: not the gradient of the doubled batch ({whole})"
        for buffer, error in buffers.items():
            if buffer.endswith(("confidence", "class_probs")):
                assert error < 1e-6, f"{name}: {buffer} is not that of the doubled batch"


def check_equal(configs, folder):
    for config in configs.values():
        config.model["prior"] = 0.6  # so that there is something to judge
    for name, (one, two) in in_processes(2, digests_after_steps, configs, folder).items():
        assert one[0] == two[0], f"{name}: the processes' bits differ"
        together, alone = one[1:]
        assert together == alone == two[1]
        assert together["val/dice"] > 0


def test_gradients_are_those_of_the_doubled_batch():
    alone = {name: ([name], QUIET, None) for name in ("supervised", "adversarial", "mil")}
    mixed = {"all": (["supervised", "mean_teacher", "pseudo_label", "cross_pseudo"], QUIET, None)}
    check_gradients(alone | mixed)


@pytest.mark.slow
def test_gradients_of_every_strategy_and_engine():
    adaptive = {**QUIET, "pseudo_label": {"adaptive": True}}
    every = {name: (["supervised", name], adaptive, None) for name in list_strategies()}
    engines = {
        engine: (["supervised", "mean_teacher"], QUIET, engine)
        for engine in ("fused", "checkpoint", "plain", "memcnn")
    }
    check_gradients(every | engines)


def test_processes_hold_the_same_bits_after_their_steps(tiny, tmp_path):
    config = with_devices(tiny(max_steps=3))
    config.strategies = {"mean_teacher": {}, "pseudo_label": {"adaptive": True}}
    check_equal({"run": config}, tmp_path)


@pytest.mark.slow
def test_processes_of_every_strategy_hold_the_same_bits(tiny, tmp_path):
    options = {"non_adjacency": {"min_cases": 1}, "pseudo_label": {"adaptive": True}}
    configs = {}
    for name in list_strategies():
        config = configs[name] = with_devices(tiny(max_steps=3))
        config.strategies = {name: options.get(name, {})}
        if name == "nodule_insertion":
            config.strategies[name] = {"spacing_mm": [4, 4, 4]}
    check_equal(configs, tmp_path)


def test_what_processes_agree_on(tmp_path):
    turns, highest, (one, two), mean = in_processes(2, agreed_things, tmp_path)
    assert turns == "01"  # the first was slower and still came first
    assert highest == 7
    assert one == two == {"mean": [1.5, 2.5], "same": [pytest.approx(0.1), -math.inf], "count": 3}
    assert mean == {"a": 0.5, "b": 5.0}


def test_a_mistake_in_one_process_is_raised_in_all():
    told = "its scan cannot be read"
    assert in_processes(2, agreed_error) == [("HeardError", told), ("UserError", told)]


@pytest.mark.slow
def test_one_process_fails_and_all_end():
    with pytest.raises(UserError, match=r"^its scan cannot be read$"):
        in_processes(2, fails_in_one, "mistake")
    with pytest.raises(Exception, match="ZeroDivisionError: a fault of ours"):
        in_processes(2, fails_in_one, "fault")
    with pytest.raises(UserError, match="process 1 of the training was ended by SIGKILL"):
        in_processes(2, fails_in_one, "killed")


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tiny, tmp_path):
    config, folder = tiny(max_steps=6), tmp_path / "run"
    short = replace(config, trainer=replace(config.trainer, max_steps=2))
    train(short, folder)
    train(with_devices(config, 2, max_steps=4), folder, resume=True)
    assert load_checkpoint(folder / "last.pt")["step"] == 4
    outcome = train(config, folder, resume=True)
    assert outcome.finished
    assert load_checkpoint(folder / "last.pt")["step"] == 6
