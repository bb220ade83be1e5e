"""The folder of a run: its files, and how it is begun."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from semilung.data import Splits, read_splits
from semilung.files import read_yaml, write_text
from semilung.nested import plain
from semilung.runs.evaluation_name import evaluation_name
from semilung.runs.train_config import TrainConfig, TrainerConfig
from semilung.types import SPLITS, UserError

PACKAGES = ("semilung", "torch", "monai", "lightning-fabric", "numpy", "scipy", "nibabel", "blosc2")


class RunFolder:
    """Paths within `runs/<name>/`, and writing that leaves a whole file or none.

    The folder holds `config.yaml`, `provenance.json`, `splits.json`, `metrics.csv`, `cost.json`,
    `audits.json`, `last.pt`, `best.pt` and TensorBoard's events.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.provenance = path / "provenance.json"
        self.splits = path / "splits.json"
        self.metrics = path / "metrics.csv"
        self.cost = path / "cost.json"
        self.last = path / "last.pt"
        self.best = path / "best.pt"
        self.audits = path / "audits.json"

    def evaluation(self, what: str, checkpoint: str = "last") -> Path:
        """Return the folder of an evaluation by the run's own settings.

        Args:
            what: `val`, `test`, or the name of another manifest.
            checkpoint: `last` or `best`.
        """
        return self.path / evaluation_name(what, checkpoint)

    def external_evaluations(self) -> dict[str, Path]:
        """Return the folders of evaluations on other manifests, by the manifest's name."""
        folders = sorted(self.path.glob(evaluation_name("*", "last")))
        prefix, suffix = evaluation_name("*", "last").split("*")
        names = [folder.name.removeprefix(prefix).removesuffix(suffix) for folder in folders]
        return {n: f for n, f in zip(names, folders, strict=True) if n not in SPLITS}

    def require_free(self) -> None:
        """Raise UserError where the folder holds a run."""
        if self.config.exists():
            raise UserError(
                f"{self.path} holds a run already. Continue it with resume={self.path}, or give "
                f"this one another name with run_name=..."
            )

    def begin(self, config: TrainConfig, splits: Splits) -> None:
        """Make the folder and write config, provenance and splits.

        Raises:
            UserError: It cannot be written.
        """
        write_text(self.provenance, json.dumps(provenance(), indent=2) + "\n")
        write_text(self.splits, json.dumps(splits, indent=0, sort_keys=True) + "\n")
        write_text(self.config, yaml.safe_dump(plain(asdict(config)), sort_keys=False))

    def extend(self, max_steps: int) -> None:
        """Write another number of steps into the config, and print it."""
        config = read_yaml(self.config)
        trainer = config.setdefault("trainer", {})
        previous = trainer.get("max_steps", TrainerConfig.max_steps)
        if previous == max_steps:
            return
        trainer["max_steps"] = max_steps
        write_text(self.config, yaml.safe_dump(config, sort_keys=False))
        print(  # noqa: T201
            f"trainer.max_steps is {max_steps} from here on and was {previous}: the schedules of "
            f"rates and ramps end at step {max_steps}",
            flush=True,
        )

    def require_same_splits(self, splits: Splits) -> None:
        """Compare the splits with those that the run began with.

        Raises:
            UserError: The manifest has changed since.
        """
        saved = self.read_splits()
        moved = sorted(c for c in saved | splits if saved.get(c) != splits.get(c))
        if moved:
            raise UserError(
                f"the manifest has changed since {self.path} began: other split or role, removed "
                f"or new are {', '.join(moved[:5])}{' ...' if len(moved) > 5 else ''}. Restore the "
                f"manifest, give it the column `split` if an earlier version drew the splits of "
                f"this run, or begin anew in another folder"
            )

    def read_splits(self) -> Splits:
        """Return case to its split and role, as the run began.

        Raises:
            UserError: The file is missing or damaged.
        """
        return read_splits(self.splits)


def provenance() -> dict[str, Any]:
    """Return versions, kind of machine, revision and command line."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Return the revision of semilung's checkout, `+changes` if not clean; None outside of one."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(  # noqa: S603 - a fixed command, no shell
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.SubprocessError):
        return None
