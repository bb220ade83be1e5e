"""Shared by all tests."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from semilung.runs import TrainConfig

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported, as the command does

collect_ignore = ["third_party"]
"""A package of its own: importing it here would register its strategy among ours."""


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real CT that SEMILUNG_DATA names; without it, the test is skipped."""
    folder = os.environ.get("SEMILUNG_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"SEMILUNG_DATA names no folder of real CT (found {folder!r})")
    return Path(folder)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a phantom of eight tiny scans, prepared into a cache of its own."""
    from semilung.data.phantom import write_phantom

    folder = tmp_path_factory.mktemp("phantom")
    return write_phantom(folder / "cohort", scans=8, size=32, spacing_mm=4.0)


@pytest.fixture(scope="session")
def trained(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps; tests that change it copy it."""
    from commands import train

    runs = tmp_path_factory.mktemp("runs")
    assert train(phantom, "strategy=mean_teacher", f"runs_dir={runs}", "run_name=tiny") == 0
    return runs / "tiny"


@pytest.fixture(scope="session")
def trained_both(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of detection and segmentation, of two steps; tests that change it copy it."""
    from commands import train

    runs = tmp_path_factory.mktemp("runs")
    words = ("tasks=[detection,segmentation]", "trainer.max_steps=2", "run_name=both")
    assert train(phantom, f"runs_dir={runs}", *words) == 0
    return runs / "both"


@pytest.fixture(scope="session")
def described(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all three tasks, of two steps; tests that change it copy it."""
    from commands import train

    runs = tmp_path_factory.mktemp("runs")
    targets = {
        "malignancy": "{kind:ordinal,values:[1,2,3,4,5]}",
        "spiculated": "{kind:binary,values:[0,1]}",
        "texture": "{kind:classes,values:[solid,part_solid,ground_glass]}",
    }
    listed = ",".join(f"{name}:{target}" for name, target in targets.items())
    words = [
        "tasks=[segmentation,detection,characterization]", "trainer.max_steps=2",
        f"tasks.characterization.targets={{{listed}}}",
    ]  # fmt: skip
    assert train(phantom, *words, f"runs_dir={runs}", "run_name=described") == 0
    return runs / "described"


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep prepared volumes of tests out of the user's cache."""
    os.environ["SEMILUNG_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny(phantom: Path) -> "Callable[..., TrainConfig]":
    """`tiny_config` on the shared phantom: a training that takes a second."""
    from tiny_runs import tiny_config

    return partial(tiny_config, phantom)
