"""Rules of the house that no linter knows."""

import inspect
import re
from pathlib import Path

import pytest
import yaml

from semilung.models import models
from semilung.strategies import list_strategies
from semilung.strategies.core.strategy import strategies

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "semilung").rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_over_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_runs_a_config_or_an_unsafe_checkpoint(path):
    unsafe = r"weights_only=False|hydra\.utils|instantiate\(|pickle\.load|\beval\((?!\))|\.cuda\("
    assert not re.findall(unsafe, path.read_text())


def options(factory):
    """Option names and defaults of a factory, keyword-only ones for strategies."""
    return {
        name: list(p.default) if isinstance(p.default, tuple) else p.default
        for name, p in inspect.signature(factory).parameters.items()
        if p.default is not inspect.Parameter.empty
    }


@pytest.mark.parametrize("name", list_strategies())
def test_a_strategys_yaml_states_its_own_defaults(name):
    base = ROOT / "configs/base" / f"{name}.yaml"
    path = base if base.exists() else ROOT / "configs/strategy" / f"{name}.yaml"
    stated, defaults = yaml.safe_load(path.read_text()), options(strategies[name])
    assert set(stated) == set(defaults)
    own = {key: value for key, value in stated.items() if not str(value).startswith("${")}
    assert own == {key: defaults[key] for key in own}  # the others follow another setting


@pytest.mark.parametrize("name", list(models))
def test_a_models_yaml_states_its_own_defaults(name):
    stated = yaml.safe_load((ROOT / "configs/model" / f"{name}.yaml").read_text())
    assert stated.pop("name") == name
    defaults = options(models[name])
    assert stated == {key: defaults[key] for key in stated}
    assert set(defaults) - set(stated) <= {"in_channels", "out_channels"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_yaml_parses(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)
