"""Folders of runs and how they are loaded, in this process or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semilung.api.load import LoadedRun, load
from semilung.api.paths import PathLike, listed
from semilung.types import UserError

Runs = LoadedRun | PathLike | Sequence[PathLike]
"""A run's folder, or several, which are averaged; or what `load` returned."""


@dataclass(frozen=True)
class RunSource:
    """What `load` is called with; it can be sent to a worker, and compared.

    Attributes:
        folders: Of the runs.
        checkpoint: `last` or `best`.
        settings: `inference.key=value` words in place of the first run's settings.
        tasks: Those that are predicted; None for all.
    """

    folders: tuple[Path, ...]
    checkpoint: str = "last"
    settings: tuple[str, ...] = ()
    tasks: tuple[str, ...] | None = None

    def load(self) -> LoadedRun:
        """Load the runs."""
        return load(
            self.folders, checkpoint=self.checkpoint, settings=self.settings, tasks=self.tasks
        )

    @property
    def absolute(self) -> RunSource:
        """The source for a process in another folder."""
        return replace(self, folders=tuple(folder.absolute() for folder in self.folders))


def loaded(
    runs: Runs, checkpoint: str, settings: Sequence[str]
) -> tuple[LoadedRun, RunSource | None]:
    """Return runs, loaded where they are folders, and their source; None if they were loaded."""
    if isinstance(runs, LoadedRun):
        return runs, None
    source = RunSource(tuple(listed(runs, "runs")), checkpoint, tuple(settings))
    return source.load(), source


def require_source(source: RunSource | None) -> RunSource:
    """Return the folders of runs, which the workers of a cluster load.

    Raises:
        UserError: The runs are loaded already.
    """
    if source is None:
        raise UserError(
            "the workers of a cluster load the runs by themselves; give the runs' folders, and "
            "not what load returned"
        )
    return source
