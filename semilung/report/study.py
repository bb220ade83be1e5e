"""What a report is about: runs with their figures, and how they stand to one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from semilung.arm_names import BASELINE
from semilung.report.formatting import without_folders


@dataclass(frozen=True)
class Run:
    """A judged run.

    Attributes:
        name: Of its folder.
        folder: Where it is.
        arm: The strategies, joined by `+`.
        seed: Of its training.
        values: Further settings that differ from run to run, such as `data.labelled`.
        config: What it was told, nested.
        cases: A row a judged case, of the last checkpoint.
        lesions: A row a reference lesion of these.
        best: As `cases`, of the checkpoint picked on validation cases; None where not judged.
        curves: `step`, `name`, `value`, as training logged them.
        cost: `seconds`, `peak_memory_mib` and what else is known.
        audits: Audit to its `status`, `summary`, `advice` and `figures`.
        provenance: Command, versions and revision.
        overlays: Folder of pictures, `<case>.png`.
        splits: Case to its `split` and `role` after the label budget; empty where not known.
        elsewhere: As `cases`, of other sets of scans that the run was judged on, by their name.
    """

    name: str
    folder: Path
    arm: str
    seed: int
    values: Mapping[str, Any]
    config: dict[str, Any]
    cases: pd.DataFrame
    lesions: pd.DataFrame
    best: pd.DataFrame | None
    curves: pd.DataFrame
    cost: dict[str, Any]
    audits: dict[str, Any]
    provenance: dict[str, Any]
    overlays: Path
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    elsewhere: Mapping[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Runs of one setting, which may be compared: what differs between them is the contender.

    Attributes:
        label: The setting that all share, as `data.labelled=8`; empty where there is one alone.
        contenders: Name to its runs, over seeds and folds, in the order of the study.
    """

    label: str
    contenders: dict[str, list[Run]]

    @property
    def reference(self) -> str:
        """The contender that the others are held against: `supervised`, or else the first."""
        return BASELINE if BASELINE in self.contenders else next(iter(self.contenders))

    @property
    def runs(self) -> list[Run]:
        """All runs."""
        return [run for runs in self.contenders.values() for run in runs]


@dataclass(frozen=True)
class Study:
    """All that a report tells of.

    Attributes:
        title: Name of the run or the sweep.
        split: The judged split, `val` or `test`.
        runs: In the order of the sweep.
        axes: Keys of `Run.values`.
        failures: `run`, `arm`, `message` of what failed.
        asked: What the sweep was asked for; empty for plain runs.
        sweep: Whether this is a sweep's folder.
    """

    title: str
    split: str
    runs: list[Run]
    axes: list[str]
    failures: pd.DataFrame = field(default_factory=pd.DataFrame)
    asked: dict[str, Any] = field(default_factory=dict)
    sweep: bool = False

    def on(self, cases: Callable[[Run], pd.DataFrame]) -> Study:
        """The same runs, judged on other cases of theirs; the best checkpoint is left out."""
        runs = [replace(run, cases=cases(run), best=None) for run in self.runs]
        return replace(self, runs=runs)

    @property
    def arms(self) -> list[str]:
        """Each arm once."""
        return list(dict.fromkeys(run.arm for run in self.runs))

    @property
    def seeds(self) -> list[int]:
        """Each seed once."""
        return sorted({run.seed for run in self.runs})

    @property
    def groups(self) -> list[Group]:
        """Several arms are compared within each setting; the settings of a single arm together."""
        found: dict[str, dict[str, list[Run]]] = {}
        several = len(self.arms) > 1
        for run in self.runs:
            setting = setting_label(run.values)
            label, name = (setting, run.arm) if several else ("", setting or run.arm)
            found.setdefault(label, {}).setdefault(name, []).append(run)
        return [Group(label, contenders) for label, contenders in found.items()]


def blank(value: Any) -> bool:
    """Whether a setting has no value, as a strategy's own has in arms without it."""
    return value is None or value == "" or value != value  # NaN is unlike itself


def setting_label(values: Mapping[str, Any]) -> str:
    """Values as the command line has them, without folders of the machine.

    Example:
        >>> setting_label({"data.labelled": 8, "model.depth": 2})
        'data.labelled=8, model.depth=2'
    """
    return ", ".join(without_folders(f"{key}={value}") for key, value in values.items())
