"""The prediction of one scan."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from semilung.api.prediction_files import require_format, write_files
from semilung.data import Volume
from semilung.inference.findings import component_findings, component_labels
from semilung.inference.output_files import FORMATS, MASK, TABLE, output_names, written_kinds
from semilung.suggestions import require_choice
from semilung.tasks import Output
from semilung.types import UserError
from semilung.writers.frames import FRAMES, LPS

if TYPE_CHECKING:
    from ipyniivue import NiiVue

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the tasks of a run predict of a scan, volumes on the scan's own grid.

    Attributes:
        name: Of the scan, as in the names of its files.
        volume: The scan itself, in HU.
        outputs: Kind of volume (`nodules`) or name of a table (`findings.csv`) to its content.
        scan: The file, or folder of DICOM slices, that was predicted; None of an array.
        series: Number of the series in that folder; None where it holds only one CT volume.
        run: Name of the run; empty if unknown.
        threshold: Probability above which a voxel is foreground.
        centres: Whether the findings are predicted centres, and not components of the mask.
        min_probability: Least probability of a finding; None if unknown.
        descriptions: Columns of the findings that describe them (`malignancy`), name to meaning.
    """

    name: str
    volume: Volume
    outputs: Mapping[str, Output]
    scan: Path | None = None
    series: str | None = None
    run: str = ""
    threshold: float | None = None
    centres: bool = False
    min_probability: float | None = None
    descriptions: Mapping[str, str] = field(default_factory=dict)

    @property
    def mask(self) -> Volume:
        """`(X, Y, Z)` uint8, 1 in nodules.

        Raises:
            UserError: The run does not predict masks.
        """
        return self._output(MASK, Volume)

    @property
    def probability(self) -> Volume:
        """`(X, Y, Z)` float32 in [0, 1]; errors as `mask`."""
        return self._output("probability", Volume)

    @property
    def findings(self) -> pd.DataFrame:
        """Predicted nodules, one row each (`FINDING_COLUMNS`, then those of `descriptions`).

        Raises:
            UserError: The run does not predict findings.
        """
        return self._output(TABLE, pd.DataFrame)

    @cached_property
    def labels(self) -> Volume:
        """`(X, Y, Z)` int32, k in the voxels of the finding of label k; errors as `mask`."""
        return Volume(component_labels(self.mask, self.probability)[0], self.mask.affine)

    @property
    def segments(self) -> pd.DataFrame:
        """Components of the mask, one row each, as `labels` numbers them; errors as `mask`."""
        if not self.centres:
            return self.findings
        return component_findings(self.mask, self.probability, self.name)

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
        self,
        folder: str | os.PathLike[str],
        *,
        format: str = FORMATS[0],  # noqa: A002 - as the command's option
        probability: bool = True,
        page: bool = False,
        frame: str = LPS,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write the outputs, as `<scan>_nodules.nii.gz` and `<scan>_findings.csv` and `.json`.

        Args:
            folder: Is made where it does not exist.
            format: Of the volumes: `nii.gz`, `nii`, `mha`, `nrrd`, or `dcm` for a DICOM SEG of the
                mask of a DICOM series (volumes other than the mask are NIfTI then).
            probability: Write the probability too.
            page: Write `<scan>.html` and `<scan>_pictures` too, which show the findings.
            frame: `lps` or `ras`, of the coordinates of findings.
            overwrite: Replace outputs that exist.

        Returns:
            The files written, without the pictures.

        Raises:
            UserError: An output of the scan exists, the folder cannot be written, or the scan
                cannot be written in the format.
        """
        require_format(format, [self.scan])
        require_choice("frame", frame, tuple(FRAMES))
        outputs = [k for k in self.outputs if probability or k != "probability"]
        kinds = written_kinds(outputs, format, page=page)
        folder, source = Path(folder), self.scan or Path(self.name)
        name = output_names([source], folder, kinds, overwrite=overwrite, format_=format)[source]
        return write_files(self, self.outputs, folder, name, kinds, format, frame=frame)
