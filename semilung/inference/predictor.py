"""One object for all that predicts: prepared cases, and scans on disk in their native geometry."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semilung.data.cache.prepare import prepared_image
from semilung.data.data_config import DataConfig
from semilung.data.io.resample import resample_onto
from semilung.data.io.volume import Volume, read_volume, stem_of
from semilung.inference.gate import gated
from semilung.inference.inference_config import FALLBACK_WINDOW, InferenceConfig
from semilung.inference.outputs import Activation, foreground_probability
from semilung.inference.postprocess import to_mask
from semilung.inference.sliding_window import predict_maps
from semilung.inference.whole_volume import predict_whole
from semilung.models import Footprint, common_footprint
from semilung.strategies.core.centre_maps import CENTRES

Progress: TypeAlias = Callable[[int, int], None]
"""Called after each forward pass with the numbers of windows done and in total."""

MASK_HEAD = "logits"


class Predictable(Protocol):
    """A prepared case, as far as prediction reads it."""

    @property
    def lungs(self) -> NDArray[np.bool_] | None: ...  # noqa: D102
    @property
    def spacing_mm(self) -> tuple[float, float, float]: ...  # noqa: D102
    def read(self, field: str) -> NDArray[Any]: ...  # noqa: D102


@dataclass(frozen=True)
class ScanMaps:
    """Predicted outputs of a scan on its prepared grid.

    Attributes:
        name: Of the scan's file or folder.
        scan: The scan itself, on its own grid.
        affine: Of the prepared grid.
        maps: Head to `(K, X, Y, Z)`.
    """

    name: str
    scan: Volume
    affine: NDArray[np.float64]
    maps: Mapping[str, Tensor]

    def on_scan(self, values: NDArray[np.float32]) -> Volume:
        """Return values `(X, Y, Z)` of the prepared grid on the scan's, 0 where it has none."""
        return resample_onto(
            Volume(values, self.affine), self.scan.shape, self.scan.affine, order=1, fill=0.0
        )


@dataclass(frozen=True)
class Predictor:
    """One or several nets, and how volumes are prepared for them, predicted and cut into masks.

    Evaluation, validation, threshold selection, audits and prediction of scans all use this object,
    so a scan has the same mask in each of them.

    Attributes:
        models: Nets on one device, whose activated outputs are averaged.
        inference: Window or memory, threshold and minimum component volume.
        data: Preparation and intensity scaling of the training.
        heads: Head to its activation; all are predicted in the same pass.

    Example:
        >>> from semilung.models import build_model
        >>> net = build_model("reversible_unet", {"widths": (4, 8), "depth": 1})
        >>> predictor = Predictor([net], InferenceConfig(window=(8, 8, 8)), DataConfig())
        >>> maps = predictor.maps(np.zeros((9, 8, 8), np.int16))
        >>> {head: tuple(values.shape) for head, values in maps.items()}
        {'logits': (1, 9, 8, 8)}
    """

    models: Sequence[nn.Module]
    inference: InferenceConfig
    data: DataConfig
    heads: Mapping[str, Activation] = field(
        default_factory=lambda: {MASK_HEAD: foreground_probability}
    )

    def __post_init__(self) -> None:
        """Warn of changed settings that have no effect."""
        config, defaults = self.inference, InferenceConfig()
        if config.gate and not {MASK_HEAD, CENTRES} <= set(self.heads):
            warnings.warn(
                f"inference.gate={config.gate:g} has no effect, as the tasks are not both "
                f"segmentation and detection",
                stacklevel=3,
            )
        if self._footprint is not None:
            names, reason = ["overlap", "batch_size"], "as inference.window is null"
        elif config.window is not None:
            names, reason = ["memory_gib"], "as inference.window is set (null: whole volumes)"
        else:
            names, reason = ["memory_gib"], "as this network can only be predicted by windows"
        for name in names:
            if (value := getattr(config, name)) != getattr(defaults, name):
                warnings.warn(f"inference.{name}={value:g} has no effect, {reason}", stacklevel=3)

    @property
    def _footprint(self) -> Footprint | None:
        """Of the nets, if a volume is predicted whole or in parts; None by windows."""
        return None if self.inference.window is not None else common_footprint(self.models)

    def at_threshold(self, threshold: float) -> Predictor:
        """Return the predictor with another threshold, in [0, 1)."""
        return replace(self, inference=replace(self.inference, threshold=threshold))

    def maps(
        self,
        hu: NDArray[Any],
        *,
        lungs: NDArray[np.bool_] | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Tensor]:
        """Predict all outputs of a prepared volume, whole or by sliding windows.

        Args:
            hu: `(X, Y, Z)`, prepared as in training.
            lungs: Blocks with lung, as of a `PreparedCase`; what is distant from them is 0.
            progress: Called after each forward pass.

        Returns:
            Head to `(K, X, Y, Z)` float32 on the CPU, after its activation.

        Raises:
            UserError: An output is not finite, a head does not exist, or the model fails on the
                window.
        """
        if (footprint := self._footprint) is not None:
            return predict_whole(
                self.models,
                hu,
                outputs=self.heads,
                footprint=footprint,
                memory_gib=self.inference.memory_gib,
                window_hu=self.data.window_hu,
                lungs=lungs,
                precision=self.inference.precision,
                flips=self.inference.flips,
                progress=progress,
            )
        return predict_maps(
            self.models,
            torch.from_numpy(hu),
            outputs=self.heads,
            window=self.inference.window or FALLBACK_WINDOW,
            overlap=self.inference.overlap,
            batch_size=self.inference.batch_size,
            window_hu=self.data.window_hu,
            lungs=lungs,
            precision=self.inference.precision,
            flips=self.inference.flips,
            progress=progress,
        )

    def case_maps(
        self, case: Predictable, *, progress: Progress | None = None
    ) -> dict[str, Tensor]:
        """Predict all outputs of a prepared case, see `maps`; the mask is gated."""
        maps = self.maps(case.read("image"), lungs=case.lungs, progress=progress)
        return self._gated(maps, case.spacing_mm)

    def probability(
        self, case: Predictable, *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return the foreground probability `(X, Y, Z)` of a prepared case; errors as `maps`."""
        return foreground(self.case_maps(case, progress=progress))

    def decode(
        self, probability: NDArray[np.float32], spacing_mm: Sequence[float]
    ) -> NDArray[np.uint8]:
        """Return the mask `(X, Y, Z)`, 0 or 1, of a probability map with voxels of `spacing_mm`."""
        return to_mask(
            probability,
            threshold=self.inference.threshold,
            min_volume_mm3=self.inference.min_volume_mm3,
            spacing_mm=spacing_mm,
        )

    def segment(self, case: Predictable) -> NDArray[np.uint8]:
        """Return the mask `(X, Y, Z)`, 0 or 1, of a prepared case; errors as `maps`."""
        return self.decode(self.probability(case), case.spacing_mm)

    def scan(
        self,
        path: str | os.PathLike[str],
        *,
        series: str | None = None,
        progress: Progress | None = None,
    ) -> tuple[Volume, Volume]:
        """Segment a CT of any orientation and spacing.

        The scan is prepared as in training. The probability, not the mask, is resampled to the grid
        of the scan and thresholded there, so that the surface has the precision of the
        interpolation. If `data` crops to the lungs, the probability is 0 at a distance from them.

        Args:
            path: A CT in HU.
            series: Number of the series in a DICOM folder.
            progress: Called after each forward pass.

        Returns:
            The mask (uint8, 0 or 1) and the probability (float32), both with the file's shape and
            affine.

        Raises:
            UserError: The file cannot be read or has voxels that are not finite; or as `maps`.
        """
        return self.segment_scan(self.scan_maps(path, series=series, progress=progress))

    def scan_maps(
        self,
        path: str | os.PathLike[str],
        *,
        series: str | None = None,
        progress: Progress | None = None,
    ) -> ScanMaps:
        """Predict all outputs of a CT; arguments and errors as `scan`."""
        scan = read_volume(path, series=series)
        return self.volume_maps(scan, stem_of(Path(path)), source=str(path), progress=progress)

    def volume_maps(
        self, scan: Volume, name: str, *, source: str, progress: Progress | None = None
    ) -> ScanMaps:
        """Predict all outputs of a CT that has been read.

        Args:
            scan: In HU.
            name: Of the scan.
            source: Where it comes from, for messages.
            progress: Called after each forward pass.

        Raises:
            UserError: The voxels are not HU of a chest; or as `maps`.
        """
        prepared, lungs = prepared_image(scan, self.data, name=source)
        maps = self.maps(prepared.data, lungs=lungs, progress=progress)
        return ScanMaps(name, scan, prepared.affine, self._gated(maps, prepared.spacing_mm))

    def _gated(self, maps: dict[str, Tensor], spacing_mm: Sequence[float]) -> dict[str, Tensor]:
        """Return maps whose foreground probability is 0 except near detected centres."""
        if not self.inference.gate or MASK_HEAD not in maps or CENTRES not in maps:
            return maps
        mask, least = maps[MASK_HEAD], self.inference.gate
        return {**maps, MASK_HEAD: gated(mask, maps[CENTRES], spacing_mm, least=least)}

    def segment_scan(self, predicted: ScanMaps) -> tuple[Volume, Volume]:
        """Return mask and probability of a scan, see `scan`."""
        scan, probability = predicted.scan, predicted.on_scan(foreground(predicted.maps))
        mask = self.decode(probability.data, scan.spacing_mm)
        return Volume(mask, scan.affine), Volume(probability.data, scan.affine)


def foreground(maps: Mapping[str, Tensor]) -> NDArray[np.float32]:
    """Return the foreground probability `(X, Y, Z)` among predicted outputs."""
    return maps[MASK_HEAD][0].clamp_(0, 1).numpy()  # rounding may exceed 1
