"""Pictures of findings: three planes through each, with its outline and a scale bar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semilung.data import Volume, scale_hu, to_ras
from semilung.data.io.grid import ball_voxels, voxel_of
from semilung.data.io.opened_volume import LPS_TO_RAS
from semilung.evaluation.overlay import (
    LUNG_WINDOW_HU,
    PREDICTION_RGB,
    REFERENCE_RGB,
    outlined_plane,
)
from semilung.evaluation.panels import KeyEntry, draw_panels, panel_row
from semilung.writers.scan_result import ScanResult, described

EDGE_MM = 60.0
"""Least edge of a picture: twice 30 mm, the largest diameter of a nodule by definition."""

MAX_PICTURES = 30
"""Most findings that are drawn, the first of the table."""

THUMBNAIL_MM = 40.0
"""Least edge of a thumbnail."""

THUMBNAIL_PIXELS = 128

_ROOM = 1.6  # edge of a picture, in diameters of a large finding


def finding_pictures(result: ScanResult) -> Iterator[NDArray[np.uint8]]:
    """Draw the first `MAX_PICTURES` findings of a scan, `(H, W, 3)` each, in their order."""
    for row in result.findings.head(MAX_PICTURES).to_dict("records"):
        yield finding_picture(result, row)


def finding_picture(result: ScanResult, row: dict[Any, Any]) -> NDArray[np.uint8]:
    """Draw the axial, coronal and sagittal plane through the centre of a finding.

    Its outline is orange, that of other findings sky blue. Where a scan has no labels, the outline
    is the ball of the finding's diameter.

    Args:
        result: The scan's findings.
        row: One of them.
    """
    region = _region(result, row, max(EDGE_MM, _ROOM * row["diameter_mm"]))
    planes = panel_row(region.volumes, region.at, region.spacing_mm)
    size = f"{row['diameter_mm']:.1f} mm, probability {row['probability']:.2f}"
    key = [KeyEntry(size, PREDICTION_RGB)]
    if region.volumes[1].any():
        key.append(KeyEntry("other findings", REFERENCE_RGB))
    descriptions = described(row, result.descriptions)
    title = ", ".join([f"Finding {row['label']}", *(f"{n} {v}" for n, v in descriptions.items())])
    return draw_panels([planes], title=title, window_hu=LUNG_WINDOW_HU, key=key)


def finding_thumbnail(result: ScanResult, row: dict[Any, Any]) -> NDArray[np.uint8]:
    """Draw the axial plane through a finding, small and without letters.

    Args:
        result: The scan's findings.
        row: One of them.

    Returns:
        `(H, W, 3)`, with a longer edge of `THUMBNAIL_PIXELS`.
    """
    region = _region(result, row, max(THUMBNAIL_MM, _ROOM * row["diameter_mm"]))
    extent_mm = np.multiply(region.volumes[0].shape, region.spacing_mm)
    scale = THUMBNAIL_PIXELS / max(extent_mm[:2])
    sizes = np.maximum(1, np.rint(extent_mm * scale).astype(int)).tolist()
    return outlined_plane(
        *region.volumes, axis=2, at=region.at[2], sizes=sizes, width=2, smooth=True
    )


class _Region(NamedTuple):
    """What is around a finding: grey values, other findings and the finding `(X, Y, Z)` in RAS."""

    volumes: tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]
    at: list[int]
    spacing_mm: tuple[float, float, float]


def _region(result: ScanResult, row: dict[Any, Any], edge_mm: float) -> _Region:
    centre_mm = LPS_TO_RAS[:3, :3] @ [row["coordX"], row["coordY"], row["coordZ"]]
    image = _part(result.volume, centre_mm, edge_mm, fill=LUNG_WINDOW_HU[0])
    if result.labels is None:
        finding = np.zeros(image.shape, bool)
        box, ball = ball_voxels(image.shape, image.affine, centre_mm, row["diameter_mm"] / 2)
        finding[box] = ball
        others = np.zeros(image.shape, bool)
    else:
        labels = _part(result.labels, centre_mm, edge_mm, fill=0).data
        finding = labels == row["label"]
        others = (labels != 0) & ~finding
    grey = np.asarray(scale_hu(image.data, LUNG_WINDOW_HU) * 255, np.uint8)
    at = np.clip(np.rint(voxel_of(image.affine, centre_mm)), 0, np.array(image.shape) - 1)
    return _Region((grey, others, finding), at.astype(int).tolist(), image.spacing_mm)


def _part(volume: Volume, centre_mm: NDArray[np.float64], edge_mm: float, *, fill: float) -> Volume:
    """Return the box around a point, its axes nearest to RAS; `fill` beyond the volume."""
    centre = np.clip(voxel_of(volume.affine, centre_mm.tolist()), 0, np.array(volume.shape) - 1)
    reach = edge_mm / 2 / np.array(volume.spacing_mm)
    start = np.rint(centre - reach).astype(int)
    stop = np.maximum(np.rint(centre + reach).astype(int) + 1, start + 1)
    low, high = (np.clip(edge, 0, volume.shape) for edge in (start, stop))
    box = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    margins = list(zip((low - start).tolist(), (stop - high).tolist(), strict=True))
    affine = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ [*start, 1])[:3]
    data = np.pad(volume.data[box].astype(np.float32), margins, constant_values=fill)
    return to_ras(Volume(data, affine))
