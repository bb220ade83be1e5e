"""The request behind the words after `semilung ablate`, read by Hydra's own grammar."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from semilung.config.compose import verbatim_path
from semilung.config.hydra_adapter import (
    ConfigTree,
    HydraException,
    OverrideParseException,
    expand_sweep,
)
from semilung.runs.train_config import RESUMABLE, require_choice
from semilung.types import Split, UserError

SPLITS = ("val", "test")
EQUALS = ("steps", "compute")


@dataclass(frozen=True)
class Request:
    """A requested ablation.

    Attributes:
        axes: Swept setting to its values, in the order of the command line; `strategy` and `seed`
            are always there.
        common: Settings that all runs share, as overrides `key=value`.
        hydra: Overrides of Hydra itself, such as the launcher.
        split: Split that runs are evaluated on.
        equal: Whether all arms get the same `steps` or the same `compute`.
        baselines: Whether the supervised arms are added.
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
        """Return the request with a single value along axes that an earlier call swept.

        Args:
            axes: The swept settings of that call.
        """
        common = dict(word.split("=", 1) for word in self.common)
        fewer = {key: [common.pop(key)] for key in axes if key in common}
        rest = [f"{key}={value}" for key, value in common.items()]
        return replace(self, axes=self.axes | fewer, common=rest)


def read_request(words: Sequence[str], *, tree: ConfigTree | None = None) -> Request:
    """Return the request of a command line.

    Besides settings of `semilung train`, of which any may be swept (`key=a,b,c`), there are
    `split=val|test`, `equal=steps|compute`, `baselines=true|false` and `sweep_dir=DIR`.

    Args:
        words: The command line.
        tree: Provides the groups of configs, for `strategy=glob(*)`.

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
    values = _parsed([word for word in words if not _HYDRA.match(word)], tree)
    for key in ("resume", "runs_dir", "run_name"):
        if key in values:
            raise UserError(
                f"{key} is not for the user to set: an ablation names and resumes its own runs; "
                f"sweep_dir=DIR says where they are kept"
            )
    for key in _DEFAULTS:
        if len(listed := values.get(key, [])) > 1:
            raise UserError(f"{key}={','.join(listed)}: an ablation has one {key}, no list")
    options = {k: values.pop(k, [default])[0].strip("'\"") for k, default in _DEFAULTS.items()}
    require_choice("split", options["split"], SPLITS)
    require_choice("equal", options["equal"], EQUALS)
    require_choice("baselines", options["baselines"].lower(), ("true", "false"))
    if "strategy" not in values:
        raise UserError(
            "name the strategies to compare, as in strategy=supervised,mean_teacher (and seeds: "
            "seed=0,1,2)"
        )
    strategy, seed = values.pop("strategy"), values.pop("seed", ["0"])
    values = {"data.split_seed": ["0"], **values}
    axes = {"strategy": strategy, "seed": seed}
    axes |= {key: swept for key, swept in values.items() if len(swept) > 1}
    common = [f"{key}={swept[0]}" for key, swept in values.items() if len(swept) == 1]
    return Request(
        axes=axes,
        common=common,
        hydra=[word for word in words if _HYDRA.match(word)],
        split=cast(Split, options["split"]),
        equal=options["equal"],
        baselines=options["baselines"].lower() == "true",
        folder=Path(options["sweep_dir"] or _default_folder(axes, common, options)),
    )


def shaping(overrides: Iterable[str]) -> list[str]:
    """Return the overrides that change results, sorted, since the order of words does not.

    Example:
        >>> shaping(["optim.lr=1e-3", "data.workers=2", "data.crop=[8,8,8]"])
        ['data.crop=[8,8,8]', 'optim.lr=1e-3']
    """
    return sorted(word for word in overrides if word.partition("=")[0] not in RESUMABLE)


_HYDRA = re.compile(r"[+~]*hydra\b")
_DEFAULTS = {"split": "val", "equal": "steps", "baselines": "true", "sweep_dir": ""}


def _parsed(words: Sequence[str], tree: ConfigTree | None) -> dict[str, list[str]]:
    """Return setting to its values, one or several.

    Raises:
        UserError: A word is not of Hydra's grammar.
    """
    try:
        combinations = expand_sweep([verbatim_path(word) for word in words], tree)
    except HydraException as error:
        word = error.override if isinstance(error, OverrideParseException) else None
        what = "the settings" if word is None else repr(word)
        raise UserError(f"cannot read {what}: {str(error).splitlines()[0]}") from error
    values: dict[str, list[str]] = {}
    for combination in combinations:
        for word in combination:
            key, _, value = word.partition("=")
            if value not in values.setdefault(key, []):
                values[key].append(value)
    return values


def _default_folder(
    axes: Mapping[str, Sequence[str]], common: Sequence[str], options: Mapping[str, str]
) -> Path:
    """Return the folder of an ablation: the same for other seeds or values along its axes."""
    names = ",".join(strategy.replace(",", "+") for strategy in axes["strategy"])
    safe = re.sub(r"[^\w+,-]", "", names)[:80]
    shared = [*sorted(axes), options["split"], options["equal"], *shaping(common)]
    digest = hashlib.sha256("\n".join(shared).encode()).hexdigest()[:6]
    return Path("sweeps") / f"{safe}-{digest}"
