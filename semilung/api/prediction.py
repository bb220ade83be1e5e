"""The prediction of one scan, and its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from semilung.csv_tables import write_csv
from semilung.data import Volume, write_volume
from semilung.inference.output_files import output, output_names
from semilung.tasks import Output
from semilung.types import UserError

if TYPE_CHECKING:
    from ipyniivue import NiiVue

T = TypeVar("T")


@dataclass(frozen=True)
class Prediction:
    """What the tasks of a run predict of a scan, volumes on the scan's own grid.

    Attributes:
        scan: The file, or folder of DICOM slices, that was predicted.
        outputs: Kind of volume (`nodules`) or name of a table (`findings.csv`) to its content.
    """

    scan: Path
    outputs: Mapping[str, Output]

    @property
    def mask(self) -> Volume:
        """`(X, Y, Z)` uint8, 1 in nodules.

        Raises:
            UserError: The run does not predict masks.
        """
        return self._output("nodules", Volume)

    @property
    def probability(self) -> Volume:
        """`(X, Y, Z)` float32 in [0, 1]; errors as `mask`."""
        return self._output("probability", Volume)

    @property
    def findings(self) -> pd.DataFrame:
        """Predicted nodules, one row each (`FINDING_COLUMNS`).

        Raises:
            UserError: The run does not predict findings.
        """
        return self._output("findings.csv", pd.DataFrame)

    def _output(self, kind: str, type_: type[T]) -> T:
        content = self.outputs.get(kind)
        if not isinstance(content, type_):
            raise UserError(
                f"the run's tasks do not predict {kind}; they predict {', '.join(self.outputs)}: "
                f"see the attribute outputs"
            )
        return content

    def view(self, *, height: int = 480) -> NiiVue:
        """Return a notebook's widget of scan, mask and findings; see `view_prediction`."""
        from semilung.api.view import view_prediction

        return view_prediction(self, height=height)

    def write(
        self, folder: str | os.PathLike[str], *, probability: bool = True, overwrite: bool = False
    ) -> list[Path]:
        """Write the outputs, as `<scan>_nodules.nii.gz` and `<scan>_findings.csv`.

        Args:
            folder: Is made where it does not exist.
            probability: Write the probability too.
            overwrite: Replace outputs that exist.

        Returns:
            The files written.

        Raises:
            UserError: An output of the scan exists, or the folder cannot be written.
        """
        outputs = {k: v for k, v in self.outputs.items() if probability or k != "probability"}
        folder = Path(folder)
        name = output_names([self.scan], folder, list(outputs), overwrite=overwrite)[self.scan]
        files = {output(folder, name, kind): content for kind, content in outputs.items()}
        write_outputs(files, self.scan)
        return list(files)


def write_outputs(outputs: Mapping[Path, Output], scan: Path) -> None:
    """Write the files of a scan, the first one, its mask, last: if it exists, all of them do."""
    for path, content in reversed(list(outputs.items())):
        if isinstance(content, pd.DataFrame):
            write_csv(path, content)
        else:
            write_volume(path, content.data, content.affine, like=scan)
