"""Cost of detection next to segmentation: a training step, and a prediction of a whole scan.

    SEMILUNG_DATA=... python experiments/benchmarks/tasks.py [--rounds 5] [--steps 6]

Steps are of the recipes `demo` and `lidc_cubes` on the phantom, each thrown away; a step includes
its loading. The scan is predicted from HU to a mask, or to a mask and findings, by an untrained
network of recipe `lidc_cubes`. Rounds are interleaved, and each is compared with segmentation alone
in its own round; the ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from semilung.config.compose import Composer
from semilung.config.schema import to_training
from semilung.data import read_volume
from semilung.data.phantom import write_phantom
from semilung.inference import Predictor
from semilung.runs import TrainConfig
from semilung.tasks import build_tasks, heads_of_tasks
from semilung.training import build_learner, step_seconds

SCAN = "lidc_0132"
RECIPES = ("demo", "lidc_cubes")
TASKS = {
    "segmentation": "tasks=segmentation",
    "both": "tasks=[segmentation,detection]",
}


def config_of(recipe: str, manifest: Path, cache: Path, tasks: str) -> TrainConfig:
    """A training of a recipe."""
    words = [f"experiment={recipe}", f"data.manifest={manifest}", f"data.cache={cache}", tasks]
    words.append("data.labelled=null")  # the recipe has a budget for a larger phantom
    return to_training(Composer().command(words))


def prediction(config: TrainConfig, scan: Path) -> Callable[[], object]:
    """What the command predicts of a scan that has been read, without writing it."""
    learner, tasks = build_learner(config), build_tasks(config.tasks)
    heads = heads_of_tasks(tasks.values())
    predictor = Predictor([learner.predictor], config.inference, config.data, heads)
    volume = read_volume(scan)

    def predict() -> object:
        maps = predictor.volume_maps(volume, SCAN, source=str(scan))
        return [task.outputs(predictor, maps) for task in tasks.values()]

    return predict


def print_ratios(what: str, ways: Mapping[str, Callable[[], float]], rounds: int) -> None:
    """Print the rows of one comparison."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(way())
    for name, spent in seconds.items():
        ratios = [s / one for s, one in zip(spent, seconds["segmentation"], strict=True)]
        print(
            f"| {what} | {name} | {statistics.median(spent):.2f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) |",
            flush=True,
        )


def timed(work: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    args = parser.parse_args()
    data = Path(os.environ["SEMILUNG_DATA"]).resolve()
    print("| work | tasks | median s | ratio to segmentation (range) |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        manifest = write_phantom(Path(name) / "phantom")
        configs = {
            recipe: {
                task: config_of(recipe, manifest, Path(name) / "cache", word)
                for task, word in TASKS.items()
            }
            for recipe in RECIPES
        }
        for recipe, by_task in configs.items():
            steps = {
                task: partial(step_seconds, config, warm_up=3, steps=args.steps)
                for task, config in by_task.items()
            }
            print_ratios(f"step, {recipe}", steps, args.rounds)
        scan = data / "scans" / f"{SCAN}_ct.nii.gz"
        scans = {
            task: partial(timed, prediction(config, scan))
            for task, config in configs["lidc_cubes"].items()
        }
        print_ratios("whole scan", scans, args.rounds)


if __name__ == "__main__":
    main()
