"""Two processes train what one with the doubled batch would, and end together."""

import math
from dataclasses import replace

import pytest
from located_case import with_located_case
from process_work import (
    digests_after_steps,
    fails_in_one,
    gradient_errors,
    quick,
    with_devices,
)

from semilung.runs.checkpoint import load_checkpoint
from semilung.strategies import build_strategy, list_strategies
from semilung.training import train
from semilung.training.processes import in_processes
from semilung.types import UserError

QUIET = {"mean_teacher": {"noise": 0.0}, "copy_paste": {"box": 0.999}}
"""Options under which a strategy draws nothing at random."""

NOT_OF_THE_DOUBLED_BATCH = {
    "interpolation_consistency": "mixes a crop with the next one of its process, by a drawn share",
    "focal_mix": "mixes a crop with another of its process, by a drawn share",
    "anomaly": "puts patches of one crop of its process into another, at drawn places",
    "nodule_insertion": "inserts nodules at drawn places, real ones of its process's crops",
}
"""Their gradients are still the mean of what the two processes find."""


def check_gradients(results, makers):
    for name, (names, _, _) in makers.items():
        (mean, whole, buffers), other = results[name]
        assert mean < 1e-4, f"{name}: DDP's gradient is not the mean of the processes' ({mean})"
        assert other[0] == mean, name
        if not set(names) & set(NOT_OF_THE_DOUBLED_BATCH):
            assert whole < 1e-4, f"{name}: not the gradient of the doubled batch ({whole})"
        for buffer, error in buffers.items():
            if buffer.endswith(("confidence", "class_probs")):
                assert error < 1e-6, f"{name}: {buffer} is not that of the doubled batch"


def check_equal(results):
    for name, (one, two) in results.items():
        assert one[0] == two[0], f"{name}: the processes' bits differ"
        together, alone = one[1:]
        for other in (alone, two[1]):
            assert together == pytest.approx(other, rel=0, abs=0, nan_ok=True)
        assert together["val/dice"] > 0


MAKERS = {name: ([name], QUIET, None) for name in ("supervised", "adversarial", "mil")} | {
    "mixed": (["supervised", "mean_teacher", "pseudo_label", "cross_pseudo"], QUIET, None)
}


def two(tiny, strategies):
    """A training of two processes whose net finds something, so that it can be evaluated."""
    config = with_devices(tiny(max_steps=3))
    config.strategies = strategies
    declared = [task for name in strategies for task in build_strategy(name).needs.tasks]
    config.tasks = {task: {} for task in ["segmentation", *declared]}
    config.model["prior"] = 0.6
    return config


@pytest.fixture(scope="module")
def results(tiny, tmp_path_factory):
    config = two(tiny, {"mean_teacher": {}, "pseudo_label": {"adaptive": True}})
    folder = tmp_path_factory.mktemp("quick")
    return in_processes(2, quick, MAKERS, {"run": config}, folder)


def test_gradients_are_those_of_the_doubled_batch(results):
    check_gradients(results["gradients"], MAKERS)


@pytest.mark.slow
def test_gradients_of_every_strategy_and_engine():
    adaptive = {**QUIET, "pseudo_label": {"adaptive": True}}
    every = {name: (["supervised", name], adaptive, None) for name in list_strategies()}
    engines = {
        engine: (["supervised", "mean_teacher"], QUIET, engine)
        for engine in ("fused", "checkpoint", "plain", "memcnn")
    }
    makers = every | engines
    check_gradients(in_processes(2, gradient_errors, makers), makers)


def test_processes_hold_the_same_bits_after_their_steps(results):
    check_equal(results["digests"])


@pytest.mark.slow
def test_processes_of_every_strategy_hold_the_same_bits(tiny, phantom, tmp_path):
    options = {
        "non_adjacency": {"min_cases": 1},
        "pseudo_label": {"adaptive": True},
        "nodule_insertion": {"spacing_mm": [4, 4, 4]},
    }
    configs = {name: two(tiny, {name: options.get(name, {})}) for name in list_strategies()}
    located = configs["box_supervised"].data
    located.manifest = str(with_located_case(phantom))
    located.batch = {**located.batch, "located": 1}
    check_equal(in_processes(2, digests_after_steps, configs, tmp_path))


def test_what_processes_agree_on(results):
    turns, highest, (one, other), mean = results["agreed"]
    assert turns == "01"  # the first was slower and still came first
    assert highest == 7
    assert one == other == {"mean": [1.5, 2.5], "same": [pytest.approx(0.1), -math.inf], "count": 3}
    assert mean == {"a": 0.5, "b": 5.0}


def test_a_mistake_in_one_process_is_raised_in_all(results):
    message = "its scan cannot be read"
    assert results["mistake"] == [("ReportedError", message), ("UserError", message)]


@pytest.mark.slow
def test_one_process_fails_and_all_end():
    with pytest.raises(UserError, match=r"^its scan cannot be read$"):
        in_processes(2, fails_in_one, "mistake")
    with pytest.raises(Exception, match="ZeroDivisionError: a bug of ours"):
        in_processes(2, fails_in_one, "bug")
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
