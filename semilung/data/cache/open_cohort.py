"""The cohort of a run: manifest, splits, label budget and preparation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

from semilung.data.cache.prepare import prepare
from semilung.data.cache.prepared_case import PreparedCase
from semilung.data.data_config import DataConfig
from semilung.data.manifest.cases import Case, no_collection, read_manifest
from semilung.data.manifest.splits import apply_label_budget, assign_splits, keep_healthy
from semilung.types import ROLES, Split, UserError


@dataclass(frozen=True)
class Cohort:
    """The cases of a run. A split is prepared on first access, so training never opens test.

    Attributes:
        cases: All cases, with splits, after the label budget.
        config: Parameters of the preparation.
    """

    cases: list[Case]
    config: DataConfig

    def train(self, stream: str) -> list[PreparedCase]:
        """Prepare and return the training cases of a stream.

        Raises:
            UserError: There are none; the message counts the training cases of each role.
        """
        batch = self.config.batch
        cases = [c for c in self.cases if c.split == "train" and stream in streams_of(c, batch)]
        if not cases:
            counts = ", ".join(f"{self._train_roles[role]} {role}" for role in ROLES)
            raise UserError(
                f"the {stream} stream is empty: the training cases are {counts}; add such rows to "
                f"the manifest, change data.labelled and data.rest, or set data.batch.{stream}=0"
            )
        return prepare(cases, self.config)

    @property
    def available(self) -> dict[str, int]:
        """Number of training cases of each stream that is not empty or switched off."""
        sizes = stream_sizes(self.cases, self.config.batch)
        return {stream: n for stream, n in sizes.items() if n and self.config.batch.get(stream)}

    @cached_property
    def val(self) -> list[PreparedCase]:
        """Validation cases with known voxels (labelled and healthy), prepared; may be empty."""
        return prepare(self.evaluated("val"), self.config)

    @cached_property
    def test(self) -> list[PreparedCase]:
        """Test cases with known voxels (labelled and healthy), prepared; may be empty."""
        return prepare(self.evaluated("test"), self.config)

    def evaluated(
        self, split: Split, evaluable: Callable[[Case], bool] = attrgetter("voxels_known")
    ) -> list[Case]:
        """Cases of a split whose labels are known, not prepared.

        Args:
            split: `train`, `val` or `test`.
            evaluable: Whether a case can be evaluated; by default, whether every voxel is known.
        """
        return [c for c in self.cases if c.split == split and evaluable(c)]

    @property
    def splits(self) -> dict[str, dict[str, str]]:
        """`split` and `role` (after the budget) of each case, saved with the run."""
        return {c.case: {"split": str(c.split), "role": c.role} for c in self.cases}

    @property
    def _train_roles(self) -> Counter[str]:
        return Counter(case.role for case in self.cases if case.split == "train")


def streams_of(case: Case, batch: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """Return the streams that draw a training case.

    A weak scan is unlabelled too: its label says nothing about its voxels. A labelled one without a
    mask is of the streams `located` and `unlabelled` if the first is switched on, and else of
    `labelled`.

    Args:
        case: The case, after the budget.
        batch: Crops a step of each stream; None for any, so that all possible streams are returned.
    """
    if case.role == "weak":
        return ("weak", "unlabelled")
    if case.role == "labelled" and case.mask is None:
        if batch is None:
            return ("labelled", "located")
        return ("located", "unlabelled") if batch.get("located") else ("labelled",)
    return (case.role,)


def stream_sizes(cases: Sequence[Case], batch: Mapping[str, int] | None = None) -> dict[str, int]:
    """Count the training cases of each stream, including those switched off.

    Args:
        cases: After the budget.
        batch: As in `streams_of`.
    """
    train = (case for case in cases if case.split == "train")
    return Counter(stream for case in train for stream in streams_of(case, batch))


def open_cohort(config: DataConfig, *, seed: int) -> Cohort:
    """Read the manifest, assign splits, and apply the budgets.

    Args:
        config: Manifest, splits and budget.
        seed: Seed of the budget, and of the splits where `config.split_seed` is None.

    Raises:
        UserError: No manifest is named, or manifest, splits or budget are invalid.
    """
    if config.manifest is None:
        raise UserError("no manifest is named; set data.manifest=PATH/manifest.csv")
    with no_collection():
        cases = assign_splits(
            read_manifest(config.manifest),
            seed=seed if config.split_seed is None else config.split_seed,
            val_fraction=config.val_fraction,
            test_fraction=config.test_fraction,
            folds=config.folds,
            fold=config.fold,
        )
        budgeted = apply_label_budget(cases, labelled=config.labelled, rest=config.rest, seed=seed)
        return Cohort(keep_healthy(budgeted, config.healthy, seed=seed), config)
