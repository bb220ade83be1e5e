"""What is predicted and written of each of several scans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from semilung.api.load import LoadedRun
from semilung.api.prediction_files import write_files
from semilung.exhaustion import explain_memory_errors
from semilung.inference.output_files import FORMATS, output
from semilung.inference.pseudo_labels import PSEUDO, confident_labels
from semilung.types import UserError
from semilung.writers.frames import LPS


@dataclass(frozen=True)
class ScanRequest:
    """What is written of a scan, the same for all scans of a command.

    Attributes:
        out: Folder of the files.
        kinds: From `written_kinds`; the first one is written last.
        format: Of the volumes.
        threshold: Foreground above this probability; None is the run's.
        min_probability: Least probability of a finding; None is the run's.
        confident: Least confidence of a pseudo-label; None writes none.
        series: Which series of each DICOM folder; None where there is one.
        overwrite: Whether files that exist are replaced.
        frame: Of the coordinates of findings, one of `FRAMES`.
    """

    out: Path
    kinds: tuple[str, ...]
    format: str = FORMATS[0]
    threshold: float | None = None
    min_probability: float | None = None
    confident: float | None = None
    series: str | None = None
    overwrite: bool = False
    frame: str = LPS

    def is_written(self, name: str) -> bool:
        """Return whether all files of a scan exist: the one that is written last does."""
        return output(self.out, name, self.kinds[0], self.format).exists()

    def written(self, name: str) -> list[Path]:
        """Return the files of a scan; one without findings has no DICOM SEG."""
        paths = (output(self.out, name, kind, self.format) for kind in self.kinds)
        return [path for path in paths if path.exists()]

    def fulfil(
        self,
        run: LoadedRun,
        scan: Path,
        name: str,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Predict a scan and write its files.

        Args:
            run: The nets.
            scan: A CT volume, or a folder of DICOM slices.
            name: Of the scan's files.
            progress: Called with the parts done and their total.

        Raises:
            UserError: The scan cannot be read, or a file not be written.
        """
        with explain_memory_errors(
            "a smaller inference.memory_gib, or windows of inference.window=[48,48,48]"
        ):
            prediction = run.predict(
                scan,
                threshold=self.threshold,
                min_probability=self.min_probability,
                series=self.series,
                progress=progress,
            )
            outputs = dict(prediction.outputs)
            if self.confident is not None:
                outputs[PSEUDO] = confident_labels(
                    prediction.mask, prediction.probability, self.confident
                )
            write_files(
                prediction, outputs, self.out, name, self.kinds, self.format, frame=self.frame
            )


def failure_line(scan: Path, error: Exception) -> str:
    """Return why a scan failed, in one line that names it."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    line = " ".join(text.split())
    return line if str(scan) in line else f"{scan}: {line}"
