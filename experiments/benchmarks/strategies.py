"""Cost of a training step of each strategy, relative to supervised learning on the same batch.

    python experiments/benchmarks/strategies.py [--rounds 2] [--steps 6]

Trainings on the phantom with the recipe `experiment=demo`, each thrown away after a few steps; a
step includes its loading. Rounds are interleaved, and each arm is compared with the supervised one
of its own round. A mixture shares the forward passes of its strategies: the last column is what its
strategies would add one by one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from semilung.config.compose import Composer
from semilung.config.schema import to_training
from semilung.data.phantom import write_phantom
from semilung.strategies.core.strategy import strategies
from semilung.training import TrainConfig, step_seconds

MIXTURES = (
    ("mean_teacher", "copy_paste"),
    ("mean_teacher", "copy_paste", "entropy_minimization"),
    ("mean_teacher", "pseudo_label", "interpolation_consistency"),
)


def configs(manifest: Path, cache: Path) -> dict[tuple[str, ...], TrainConfig]:
    """Each arm's training."""
    names = [name for name in strategies if name != "supervised"]
    arms = [("supervised",), *((name,) for name in names), *MIXTURES]
    common = ("experiment=demo", f"data.manifest={manifest}", f"data.cache={cache}")
    composer = Composer()
    return {
        arm: to_training(composer.command([*common, f"strategy=[{','.join(arm)}]"])) for arm in arms
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        arms = configs(write_phantom(Path(name) / "phantom"), Path(name) / "cache")
        ratios: dict[tuple[str, ...], list[float]] = {arm: [] for arm in arms}
        for _ in range(args.rounds):
            seconds = {
                arm: step_seconds(config, warm_up=3, steps=args.steps)
                for arm, config in arms.items()
            }
            for arm, spent in seconds.items():
                ratios[arm].append(spent / seconds["supervised",])
    cost = {arm: statistics.median(found) for arm, found in ratios.items()}
    print("| strategy | step / supervised | its strategies one by one |\n|---|---|---|")
    for arm, ratio in sorted(cost.items(), key=lambda item: item[1]):
        alone = 1 + sum(cost[part,] - 1 for part in arm)
        print(f"| {' + '.join(arm)} | {ratio:.2f} | {f'{alone:.2f}' if len(arm) > 1 else ''} |")


if __name__ == "__main__":
    main()
