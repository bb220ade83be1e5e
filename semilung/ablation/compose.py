"""Hydra over semilung's configs, and what it composes for one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import open_dict
from omegaconf.errors import OmegaConfBaseException

from semilung.config import (
    model_words,
    register_schema,
    to_command,
    to_training,
    told_by_hydra,
    with_absolute_paths,
)
from semilung.training import TrainConfig
from semilung.types import UserError


@contextmanager
def open_hydra(config_dir: Path | None) -> Iterator[Hydra]:
    """Hydra over semilung's configs; of its internals, which `hydra-core<1.4` keeps."""
    register_schema()
    search_path = create_config_search_path("pkg://semilung.configs")
    if config_dir is not None:
        if not config_dir.is_dir():
            raise UserError(f"--config-dir {config_dir}: there is no such folder")
        search_path.append("command-line", f"file://{config_dir.resolve()}")
    try:
        yield Hydra.create_main_hydra2("semilung ablate", search_path)
    finally:
        GlobalHydra.instance().clear()


def compose(hydra: Hydra, overrides: Sequence[str]) -> TrainConfig:
    """A run's config, checked as `semilung train` would.

    Raises:
        UserError: A group, a setting or a value that there is not.
    """
    try:
        composed = hydra.compose_config("train", model_words(overrides), RunMode.RUN)
        with open_dict(composed):
            del composed["hydra"]
        return with_absolute_paths(to_training(to_command(composed)), None)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(told_by_hydra(error)) from error
