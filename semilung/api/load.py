"""Finished runs as one object that segments scans."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray
from torch import nn

from semilung.api.array_scan import volume_of_array
from semilung.api.paths import PathLike, listed
from semilung.api.prediction import Prediction
from semilung.data import Volume
from semilung.inference import Predictor
from semilung.inference.output_files import TABLE
from semilung.models import Segmenter
from semilung.runs import (
    TrainConfig,
    common_preparation,
    load_predictor,
    with_settings,
)
from semilung.runs.load import CHECKPOINTS, prediction_config
from semilung.suggestions import require_choice
from semilung.tasks import (
    Task,
    build_tasks,
    describing_tasks,
    finding_task,
    heads_of_tasks,
    scan_outputs,
)
from semilung.types import UserError


@dataclass(frozen=True)
class LoadedRun:
    """The nets of one or several runs with the preparation and inference settings of the first.

    Attributes:
        models: The nets, whose probabilities are averaged.
        config: Config of the first run.
        names: Of the runs, as far as known.
    """

    models: Sequence[nn.Module]
    config: TrainConfig
    names: Sequence[str] = ()

    def predict(
        self,
        scan: PathLike | Volume | NDArray[Any],
        affine: ArrayLike | None = None,
        *,
        name: str = "scan",
        threshold: float | None = None,
        min_probability: float | None = None,
        series: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Prediction:
        """Predict a CT of any orientation and spacing, for all tasks of the run in one pass.

        Args:
            scan: A CT volume in HU, or a folder of DICOM slices; or the voxels `(X, Y, Z)` in HU,
                as an array with its affine or as a `Volume`.
            affine: `(4, 4)`, voxel indices to RAS+ mm (nibabel's), of an array.
            name: Of an array, in the names of its files.
            threshold: Foreground above this probability, in [0, 1); the run's by default.
            min_probability: Least probability of a finding, in (0, 1); the run's by default. Of a
                mask's components, those whose highest probability is less are removed.
            series: Which series of a DICOM folder, by its number; None where there is one.
            progress: Called with the windows done and their total.

        Raises:
            UserError: The scan cannot be read or has voxels that are not finite; an array has no
                affine or no valid one, or is not 3D.

        Example:
            >>> image = nibabel.load("scan.nii.gz")  # doctest: +SKIP
            >>> load("runs/a").predict(image.get_fdata(), image.affine)  # doctest: +SKIP
        """
        predictor = self.predictor(threshold)
        path = Path(scan) if isinstance(scan, str | os.PathLike) else None
        if path is None:
            volume = volume_of_array(scan, affine, series=series)
            maps = predictor.volume_maps(volume, name, source="the array", progress=progress)
        elif affine is not None:
            raise UserError(
                f"{path}: a file has an affine of its own; give affine with an array alone"
            )
        else:
            maps = predictor.scan_maps(path, series=series, progress=progress)
        tasks = self.tasks_at(min_probability)
        outputs = scan_outputs(tasks, predictor, maps)
        finding = tasks[finding_task(tasks)] if TABLE in outputs else None
        return Prediction(
            maps.name,
            maps.scan,
            outputs,
            scan=path,
            series=series,
            run=" + ".join(self.names),
            threshold=predictor.inference.threshold,
            centres=finding is not None and finding.centres,
            min_probability=None if finding is None else finding.min_probability,
            descriptions={
                column: meaning
                for name in describing_tasks(tasks)
                for column, meaning in tasks[name].descriptions.items()
            },
        )

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Return the tasks of the first run, by name."""
        return build_tasks(self.config.tasks)

    def tasks_at(self, min_probability: float | None = None) -> dict[str, Task]:
        """Return the tasks by name, at the run's least probability of a finding or another one.

        Raises:
            UserError: The probability is out of range.
        """
        if min_probability is None:
            return self.tasks
        return {n: task.at_min_probability(min_probability) for n, task in self.tasks.items()}

    def for_tasks(self, names: Sequence[str]) -> LoadedRun:
        """Return the run for some of its tasks; heads of the others are not evaluated.

        Raises:
            UserError: The run was not trained for a task, or a net lacks its head.

        Example:
            >>> load("runs/both").for_tasks(["detection"]).predict("scan.nii.gz")  # doctest: +SKIP
        """
        if missing := [name for name in names if name not in self.tasks]:
            raise UserError(
                f"the run was not trained for the task {missing[0]!r}; its tasks are "
                f"{', '.join(self.tasks)}"
            )
        heads = heads_of_tasks(self.tasks[name] for name in names)
        models = [net.only(heads) if isinstance(net, Segmenter) else net for net in self.models]
        options = {name: self.config.tasks[name] for name in names}
        inference = self.config.inference
        if len(options) < len(self.tasks):
            inference = replace(inference, gate=0.0)  # of one task by another
        config = replace(self.config, tasks=options, inference=inference)
        return LoadedRun(models, config, self.names)

    def predictor(self, threshold: float | None = None) -> Predictor:
        """Return the object that predicts, at the run's threshold or at another one in [0, 1).

        Raises:
            UserError: The threshold is out of range.
        """
        heads = heads_of_tasks(self.tasks.values())
        predictor = Predictor(self.models, self.config.inference, self.config.data, heads)
        return predictor if threshold is None else predictor.at_threshold(threshold)


def load(
    runs: PathLike | Sequence[PathLike],
    *more: PathLike,
    checkpoint: str = "last",
    settings: Sequence[str] = (),
    tasks: Sequence[str] | None = None,
) -> LoadedRun:
    """Load the nets of one or several runs, on the GPU where there is one.

    Args:
        runs: Folder of a run or of an export (`semilung export`), or several, which must prepare
            scans alike and are averaged.
        *more: Further runs, as `load("runs/a", "runs/b")`.
        checkpoint: `last` or `best`; an export holds one.
        settings: `inference.key=value` words in place of the first run's settings.
        tasks: Those of the run's tasks that are predicted; all by default.

    Raises:
        UserError: A folder is no run, its checkpoint cannot be read, a setting is unknown, the
            runs prepare scans differently, or were not trained for a task.

    Example:
        >>> load("runs/mean_teacher").predict("scan.nii.gz").write("masks")  # doctest: +SKIP
        [PosixPath('masks/scan_nodules.nii.gz'), PosixPath('masks/scan_probability.nii.gz')]
    """
    require_choice("checkpoint", checkpoint, CHECKPOINTS)
    folders = [*listed(runs, "runs"), *map(Path, more)]
    configs = [prediction_config(folder) for folder in folders]
    configs[0] = with_settings(configs[0], settings)
    config = common_preparation(configs)
    models = [load_predictor(folder, checkpoint) for folder in folders]
    run = LoadedRun(models, config, [folder.resolve().name for folder in folders])
    return run if tasks is None else run.for_tasks(tasks)
