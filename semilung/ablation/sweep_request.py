"""What the words after `semilung ablate` ask for, read by Hydra's own grammar."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException

from semilung.config.compose import verbatim_path
from semilung.training.training_config import RESUMABLE
from semilung.types import Split, UserError

SPLITS = ("val", "test")
EQUALS = ("steps", "compute")


@dataclass(frozen=True)
class Request:
    """An ablation as it was asked for.

    Attributes:
        axes: Swept setting to its values, in the order of the command line; `strategy` and `seed`
            are always there.
        common: What all runs share, as overrides `key=value`.
        hydra: Overrides of Hydra itself, such as the launcher.
        split: What runs are judged on.
        equal: What all arms get the same of.
        baselines: Whether the supervised arms are added where they are not named.
        folder: The sweep's folder.
    """

    axes: dict[str, list[str]]
    common: list[str]
    hydra: list[str]
    split: Split = "val"
    equal: str = "steps"
    baselines: bool = True
    folder: Path = Path("sweeps")

    @property
    def swept(self) -> list[str]:
        """The swept settings besides strategy and seed."""
        return [key for key in self.axes if key not in ("strategy", "seed")]

    def along(self, axes: Iterable[str]) -> Request:
        """The same with a single value along axes that an earlier call swept.

        Args:
            axes: The swept settings of that call.
        """
        common = dict(word.split("=", 1) for word in self.common)
        fewer = {key: [common.pop(key)] for key in axes if key in common}
        kept = [f"{key}={value}" for key, value in common.items()]
        return replace(self, axes=self.axes | fewer, common=kept)


def read_request(words: Sequence[str], *, loader: ConfigLoader | None = None) -> Request:
    """The request behind the words of a command line.

    Besides settings of `semilung train`, of which any may be swept (`key=a,b,c`), there are
    `split=val|test`, `equal=steps|compute`, `baselines=true|false` and `sweep_dir=DIR`.

    Args:
        words: The command line.
        loader: Knows the groups of configs, for `strategy=glob(*)`.

    Raises:
        UserError: Words that Hydra cannot read, no strategy, a choice that there is not, or a
            setting that an ablation gives its runs itself.

    Example:
        >>> request = read_request(["strategy=supervised,[mil,anomaly]", "optim.lr=1e-3"])
        >>> request.axes
        {'strategy': ['supervised', '[mil,anomaly]'], 'seed': ['0']}
        >>> request.common
        ['data.split_seed=0', 'optim.lr=0.001']
    """
    values = _parsed([word for word in words if not _HYDRA.match(word)], loader)
    taken = [key for key in ("resume", "runs_dir", "run_name") if key in values]
    if taken:
        msg = f"{taken[0]} is not for the user to set: an ablation names and resumes its own runs"
        raise UserError(f"{msg}; sweep_dir=DIR says where they are kept")
    for key in _OWN:
        if len(found := values.get(key, [])) > 1:
            raise UserError(f"{key}={','.join(found)}: an ablation has one {key}, no list")
    own = {key: values.pop(key, [default])[0].strip("'\"") for key, default in _OWN.items()}
    _one_of("split", own["split"], SPLITS)
    _one_of("equal", own["equal"], EQUALS)
    _one_of("baselines", own["baselines"].lower(), ("true", "false"))
    if "strategy" not in values:
        msg = "name the strategies to compare, as in strategy=supervised,mean_teacher"
        raise UserError(f"{msg} (and seeds: seed=0,1,2)")
    strategy, seed = values.pop("strategy"), values.pop("seed", ["0"])
    values = {"data.split_seed": ["0"], **values}
    axes = {"strategy": strategy, "seed": seed}
    axes |= {key: swept for key, swept in values.items() if len(swept) > 1}
    common = [f"{key}={swept[0]}" for key, swept in values.items() if len(swept) == 1]
    return Request(
        axes=axes,
        common=common,
        hydra=[word for word in words if _HYDRA.match(word)],
        split=cast(Split, own["split"]),
        equal=own["equal"],
        baselines=own["baselines"].lower() == "true",
        folder=Path(own["sweep_dir"] or _default_folder(axes, common, own)),
    )


def shaping(overrides: Iterable[str]) -> list[str]:
    """The overrides that shape what a run finds, sorted: the order of words is no part of it.

    Example:
        >>> shaping(["optim.lr=1e-3", "data.workers=2", "data.crop=[8,8,8]"])
        ['data.crop=[8,8,8]', 'optim.lr=1e-3']
    """
    return sorted(word for word in overrides if word.partition("=")[0] not in RESUMABLE)


_HYDRA = re.compile(r"[+~]*hydra\b")
_OWN = {"split": "val", "equal": "steps", "baselines": "true", "sweep_dir": ""}


def _parsed(words: Sequence[str], loader: ConfigLoader | None) -> dict[str, list[str]]:
    """Setting to its values, one or several."""
    try:
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(
            [verbatim_path(word) for word in words]
        )
        [jobs] = BasicSweeper.split_arguments(overrides, None)
    except HydraException as error:
        word = error.override if isinstance(error, OverrideParseException) else None
        what = "the settings" if word is None else repr(word)
        raise UserError(f"cannot read {what}: {str(error).splitlines()[0]}") from error
    values: dict[str, list[str]] = {}
    for job in jobs:
        for word in job:
            key, _, value = word.partition("=")
            if value not in values.setdefault(key, []):
                values[key].append(value)
    return values


def _default_folder(
    axes: Mapping[str, Sequence[str]], common: Sequence[str], own: Mapping[str, str]
) -> Path:
    """The same strategies, axes and common settings find the same folder, whatever the seeds."""
    names = ",".join(strategy.replace(",", "+") for strategy in axes["strategy"])
    safe = re.sub(r"[^\w+,-]", "", names)[:80]
    shared = [*sorted(axes), own["split"], own["equal"], *shaping(common)]
    digest = hashlib.sha256("\n".join(shared).encode()).hexdigest()[:6]
    return Path("sweeps") / f"{safe}-{digest}"


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UserError(f"{name} is one of {', '.join(allowed)}; got {value!r}")
