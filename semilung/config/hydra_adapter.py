"""Hydra's internals behind a few functions, all in one file: `hydra-core>=1.3.2,<1.4` keeps them.

Hydra serves for groups, defaults lists, overrides and launchers. Nothing here runs code that a
config names, except the launchers of semilung's own package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from semilung.types import UserError

__all__ = [
    "ConfigTree",
    "DictConfig",
    "HydraException",
    "LauncherSession",
    "Override",
    "OverrideParseException",
    "expand_sweep",
    "launcher_setting",
    "open_launchers",
    "parse_overrides",
    "refuse_environment",
    "register_schema",
]


def register_schema(schema: object) -> None:
    """Make a dataclass, with its values, the schema of all configs: unknown keys are refused."""
    ConfigStore.instance().store(name="schema", node=schema)


class ConfigTree:
    """The config files of some folders and packages, and what is composed of them.

    Args:
        sources: Provider to its place, as `pkg://semilung.configs`; the first one that has a file
            of a name provides it.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        version.setbase("1.3")
        Plugins.instance()  # makes the kinds of sources known
        search_path = ConfigSearchPathImpl()
        for provider, place in sources.items():
            search_path.append(provider, place)
        self._loader = ConfigLoaderImpl(search_path)

    def is_group(self, name: str) -> bool:
        """Whether there is a group of configs of this name."""
        return bool(self._loader.repository.group_exists(name))

    def options(self, group: str) -> list[str]:
        """Return the names of a group's configs."""
        return list(self._loader.get_group_options(group))

    def has(self, group: str, name: str) -> bool:
        """Whether a group has a config of this name."""
        return bool(self._loader.repository.config_exists(f"{group}/{name}"))

    def compose(
        self, primary: str, overrides: list[Override], check_files: Callable[[DictConfig], None]
    ) -> DictConfig:
        """Return a config and overrides composed as Hydra's loader does, without the node `hydra`.

        Args:
            primary: Name of the config.
            overrides: Settings and choices of groups.
            check_files: Is called with what files say, before settings are applied.

        Raises:
            HydraException, OmegaConfBaseException: A group, setting or type does not exist.
        """
        loader = self._loader
        loader.validate_sweep_overrides_legal(overrides, RunMode.RUN, from_shell=True)
        repository = CachingConfigRepository(loader.repository)
        defaults = create_defaults_list(
            repository, primary, overrides, prepend_hydra=False, skip_missing=False
        )
        config = loader._compose_config_from_defaults_list(defaults.defaults, repository)
        check_files(config)
        OmegaConf.set_struct(config, True)
        loader._apply_overrides_to_config(defaults.config_overrides, config)
        return config


def expand_sweep(words: Sequence[str], tree: ConfigTree | None = None) -> list[list[str]]:
    """Return the combinations of swept words, each a list of `key=value`.

    Args:
        words: As `seed=0,1` and `optim.lr=1e-3`.
        tree: Provides the groups of configs, for `strategy=glob(*)`.

    Raises:
        HydraException: A word is not of Hydra's grammar.
    """
    loader = None if tree is None else tree._loader
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    [combinations] = BasicSweeper.split_arguments(overrides, None)
    return [list(words) for words in combinations]


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """Return words of a command line as Hydra's overrides.

    Raises:
        HydraException: A word is not of Hydra's grammar.
    """
    return list(OverridesParser.create().parse_overrides(list(words)))


@contextmanager
def refuse_environment(message: Callable[[str], str]) -> Iterator[None]:
    """Let `${oc.env:NAME}` be refused while the block lasts.

    Args:
        message: Of a variable's name.

    Raises:
        ValueError: A config that is resolved within the block names a variable.
    """

    def refuse(name: str, *_: object) -> None:
        raise ValueError(message(name))

    OmegaConf.register_new_resolver("oc.env", refuse, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


class LauncherSession:
    """Hydra over a package's configs, for its launchers."""

    def __init__(self, hydra: Hydra) -> None:
        self._hydra = hydra

    def compose(self, primary: str, words: Sequence[str]) -> DictConfig:
        """Return Hydra's own config for a launcher.

        Raises:
            HydraException: There is no such launcher or setting.
        """
        return self._hydra.compose_config(primary, list(words), RunMode.MULTIRUN)

    def launch(
        self, config: DictConfig, task: TaskFunction, words: Sequence[Sequence[str]]
    ) -> None:
        """Call a task once for each list of words, by the launcher of a config.

        Raises:
            UserError: The launcher or its plugin is not installed.
        """
        context = HydraContext(config_loader=self._hydra.config_loader, callbacks=Callbacks())
        try:
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=context, task_function=task, config=config
            )
        except (ImportError, RuntimeError) as error:
            raise UserError(f"the launcher is not available: {error}") from error
        launcher.launch(words, initial_job_idx=0)


@contextmanager
def open_launchers(name: str, place: str) -> Iterator[LauncherSession]:
    """Open Hydra over one place of configs; its global state is cleared at the end.

    Args:
        name: Name of the task, for Hydra.
        place: As `pkg://semilung.configs`.
    """
    try:
        yield LauncherSession(Hydra.create_main_hydra2(name, create_config_search_path(place)))
    finally:
        GlobalHydra.instance().clear()


def launcher_setting(config: DictConfig, name: str) -> Any:
    """Return a setting of a launcher's config; None where it has no such setting."""
    return OmegaConf.select(config, f"hydra.launcher.{name}")
