"""The config of a training, composed of semilung's configs, a further folder and settings.

Nothing composed has a node `hydra`: neither a file nor a word of the command line names a callback,
a logger, a launcher or a working folder. The launchers of `semilung ablate` are composed apart, of
semilung's own package (`semilung.ablation.launchers`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from semilung.config.hydra_adapter import ConfigTree, Override, parse_overrides, register_schema
from semilung.config.hydra_errors import hydra_errors, hydra_refusal
from semilung.config.schema import CommandConfig, to_command
from semilung.files import is_there, read_yaml
from semilung.suggestions import suggestion
from semilung.types import UserError

PATHS = ("data.manifest", "data.cache", "init", "resume", "runs_dir")
"""Settings that name files; what exists is taken as it is written, whatever its characters."""


class Composer:
    """Composes the config of a training.

    Args:
        config_dir: Folder of further configs, of strategies from elsewhere. Ours come first, so a
            file of the same name replaces none.

    Raises:
        UserError: There is no such folder, or a YAML in it is damaged, too large or has aliases.
    """

    def __init__(self, config_dir: Path | None = None) -> None:
        register_schema(CommandConfig(tasks={}))  # tasks come from their group
        sources = {"main": "pkg://semilung.configs"}
        if config_dir is not None:
            if not config_dir.is_dir():
                raise UserError(f"--config-dir {config_dir}: there is no such folder")
            for path in sorted(config_dir.rglob("*.yaml")):
                read_yaml(path)  # refuses what Hydra would expand without end
            if (path := config_dir / "schema.yaml").exists():
                raise UserError(f"{path}: this name is the schema of the settings; rename the file")
            sources["command-line"] = f"file://{config_dir.resolve()}"
        self.tree = ConfigTree({**sources, "schema": "structured://"})

    def compose(self, words: Sequence[str]) -> DictConfig:
        """The config of `train.yaml` and overrides.

        Raises:
            UserError: A word or file that cannot be read, a group, setting or type that there is
                not, or a `hydra` node in any of them; a file that sets `resume` or `runs_dir`.
        """
        overrides = read_overrides(model_words(words))
        refuse_hydra(overrides)
        self._require_choices(overrides)
        with hydra_errors():
            return self.tree.compose("train", overrides, refuse_places)

    def command(self, words: Sequence[str]) -> CommandConfig:
        """The same as checked dataclasses, with every interpolation resolved.

        Raises:
            UserError: As in `compose`, or a value that is out of range or cannot be resolved.
        """
        composed = self.compose(words)
        with hydra_errors():
            return to_command(composed)

    def yaml(self, words: Sequence[str]) -> str:
        """The same as YAML, references to other settings as they are written."""
        return OmegaConf.to_yaml(self.compose(words))

    def _require_choices(self, overrides: Iterable[Override]) -> None:
        """Refuse choices of a group that there are not, `strategy=null` among them."""
        for override in overrides:
            group, value = override.key_or_group, override.value()
            if override.is_delete() or not self.tree.is_group(group):
                continue
            options = self.tree.options(group)
            for name in value if isinstance(value, list) else [value]:
                if name is None or not self.tree.has(group, str(name)):
                    msg = (
                        f"{override.input_line}: there is no {group.removesuffix('s')} {name!r}"
                        f"{suggestion(str(name), options)}\nThere are: {', '.join(options)}"
                    )
                    raise UserError(msg)


def read_overrides(words: Sequence[str]) -> list[Override]:
    """Words of a command line as Hydra's overrides.

    Raises:
        UserError: A word that Hydra's grammar does not know; the message says how to quote.
    """
    with hydra_errors():
        return parse_overrides([verbatim_path(word) for word in words])


def model_words(words: Sequence[str]) -> list[str]:
    """Overrides of which `model.name=X` alone stands for X with X's own defaults.

    Where semilung has a YAML of X, that is chosen; else no YAML is, and the factory's defaults hold
    but for `model.option=value`.

    Example:
        >>> model_words(["model.name=segresnet", "seed=1"])
        ['model=segresnet', 'seed=1']
        >>> model_words(["model.name=mynet", "model.channels=8"])
        ['~model', 'model.name=mynet', '++model.channels=8']
    """
    keys = [word.partition("=")[0] for word in words]
    if "model.name" not in keys or {"model", "~model"} & set(keys):
        return list(words)
    name = words[keys.index("model.name")].partition("=")[2].strip("'\"")
    if (files("semilung.configs") / "model" / f"{name}.yaml").is_file():
        return [
            w if k != "model.name" else f"model={name}" for w, k in zip(words, keys, strict=True)
        ]
    return [
        "~model",
        *(
            f"++{word}" if key.startswith("model.") and key != "model.name" else word
            for word, key in zip(words, keys, strict=True)
        ),
    ]


def refuse_hydra(overrides: Iterable[Override]) -> None:
    """Refuse overrides of Hydra itself.

    Raises:
        UserError: There is one; the message names it.
    """
    for override in overrides:
        for key in (override.key_or_group, override.package or ""):
            if re.match(r"(_global_\.)?hydra\b", key):
                raise UserError(hydra_refusal(str(override.input_line)))


def refuse_places(files_config: DictConfig) -> None:
    """Refuse files that move outputs or go on with a run, which the command line alone may do.

    Args:
        files_config: What files say, before settings of the command line are applied.

    Raises:
        UserError: They set `resume` or `runs_dir`; the message names it.
    """
    defaults = CommandConfig()
    values = cast("dict[str, Any]", OmegaConf.to_container(files_config, resolve=False))
    for key in ("resume", "runs_dir"):
        if (value := values[key]) != getattr(defaults, key):
            raise UserError(
                f"a config file sets {key}={value!r:.100}: where runs are kept and which run goes "
                f"on is set on the command line alone; remove it from the file and give {key}=... "
                f"there"
            )


def verbatim_path(word: str) -> str:
    """A word `key=path` with its path in quotes, where that exists and has odd characters.

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory(suffix="a=b,c") as folder:
        ...     verbatim_path(f"runs_dir={folder}") == f"runs_dir='{folder}'"
        True
    """
    key, _, path = word.partition("=")
    plain = re.fullmatch(r"[\w./~-]*", path, re.ASCII)
    if key.lstrip("+") not in PATHS or plain or not is_there(path):
        return word
    return f"{key}={quoted(path)}"


def quoted(text: str) -> str:
    r"""A string as Hydra's grammar wants it: quoted, and nothing in it interpolated.

    Example:
        >>> print(quoted("a 'b' ${c}"))
        'a \'b\' \${c}'
    """
    # a backslash is one save before what it would escape: there it is doubled
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return f"'{text}{text[len(text.rstrip(chr(92))) :]}'"
