"""Findings: the nodules that were predicted in a scan, one row each."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.data.content.components import connected_components
from semilung.data.io.grid import ball_diameter_mm
from semilung.data.io.opened_volume import LPS_TO_RAS
from semilung.data.io.volume import Volume
from semilung.inference.centre_findings import Centres

Values: TypeAlias = NDArray[np.floating]

LUNA16_COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "probability")
"""First columns of findings; LUNA16's evaluation reads a table with them."""

COORDINATES = LUNA16_COLUMNS[1:4]
"""Centre in mm, LPS+; tables that are compared must be in the same frame."""

FINDING_COLUMNS = (*LUNA16_COLUMNS, "diameter_mm", "volume_mm3", "label")


def component_labels(
    mask: Volume, probability: Volume
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Number the 26-connected components of a mask, most probable first.

    Args:
        mask: `(X, Y, Z)`, foreground where it is not 0.
        probability: `(X, Y, Z)` on the same grid.

    Returns:
        `(X, Y, Z)`, 0 in background and k in the k-th component, and the highest probability of
        each in that order, to 4 decimals.
    """
    components, count = connected_components(mask.data)
    places = np.nonzero(components)  # of the foreground, a thousandth of a scan
    component = components[places] - 1
    highest = np.zeros(count)
    np.maximum.at(highest, component, probability.data[places])
    highest = highest.round(4)
    order = np.argsort(-highest, kind="stable")
    rank = np.empty(count, np.int32)
    rank[order] = np.arange(1, count + 1)
    components[places] = rank[component]
    return components, highest[order]


def probable_components(mask: Volume, probability: Volume, least: float) -> Volume:
    """Return a mask without the components whose highest probability is less than `least`."""
    labels, highest = component_labels(mask, probability)
    count = np.count_nonzero(highest >= least)
    return Volume(((labels > 0) & (labels <= count)).astype(np.uint8), mask.affine)


def component_findings(mask: Volume, probability: Volume, name: str) -> pd.DataFrame:
    """Return a finding for each component of a mask, most probable first.

    Args:
        mask: `(X, Y, Z)`, foreground where it is not 0; its 26-connected components are findings.
        probability: `(X, Y, Z)` on the same grid.
        name: Of the scan.

    Returns:
        Columns `FINDING_COLUMNS`: `seriesuid` is the name, the coordinates are the component's
        centre in LPS+ mm (as LUNA16 and DICOM; negate x and y for RAS+), `probability` its highest,
        `diameter_mm` that of a ball of `volume_mm3`, `label` its number in `component_labels`,
        which is the row's.

    Example:
        >>> data = np.zeros((9, 9, 9), np.uint8)
        >>> data[2:5, 3, 4] = 1
        >>> grid = np.diag([2.0, 2.0, 2.0, 1.0])
        >>> findings = component_findings(Volume(data, grid), Volume(data * 0.75, grid), "a")
        >>> ", ".join(map(str, findings.loc[0]))
        'a, -6.0, -6.0, 8.0, 0.75, 3.58, 24.0, 1'
    """
    labels, highest = component_labels(mask, probability)
    return label_findings(Volume(labels, mask.affine), name, highest)


def label_findings(labels: Volume, name: str, probability: Values | None = None) -> pd.DataFrame:
    """Return a finding for each label of a map, columns as `component_findings`.

    Args:
        labels: `(X, Y, Z)`, 0 in background.
        name: Of the scan.
        probability: Of each label, in their order; without it the table has no such column.
    """
    places = np.nonzero(labels.data)
    present, component = np.unique(labels.data[places], return_inverse=True)
    voxels = np.bincount(component, minlength=len(present))
    voxel_mm3 = float(np.prod(labels.spacing_mm))
    sums = np.stack([np.bincount(component, axis, minlength=len(present)) for axis in places])
    to_lps = LPS_TO_RAS @ labels.affine
    centres_mm = to_lps[:3, :3] @ (sums / voxels) + to_lps[:3, 3:]
    diameter_mm = ball_diameter_mm(voxels, voxel_mm3)
    return _table(name, present, centres_mm, probability, diameter_mm, voxels * voxel_mm3)


def centre_table(centres: Centres, name: str) -> pd.DataFrame:
    """Return a finding for each predicted centre, columns as `component_findings`.

    The volume is that of a ball of the predicted diameter, the label the number of the row.
    """
    x_mm, y_mm, z_mm = centres.points_mm.T
    volume_mm3 = np.pi / 6 * centres.diameter_mm**3
    lps_mm = np.stack([-x_mm, -y_mm, z_mm])
    rows = np.arange(1, len(volume_mm3) + 1)
    return _table(name, rows, lps_mm, centres.probability, centres.diameter_mm, volume_mm3)


def _table(
    name: str,
    labels: NDArray[np.integer],
    lps_mm: Values,
    probability: Values | None,
    diameter_mm: Values,
    volume_mm3: Values,
) -> pd.DataFrame:
    """Return findings in the order in which they are given; coordinates are `(3, N)`."""
    values = {
        "seriesuid": [name] * len(labels),
        **dict(zip(COORDINATES, lps_mm.round(3), strict=True)),
        **({} if probability is None else {"probability": probability.round(4)}),
        "diameter_mm": diameter_mm.round(2),
        "volume_mm3": volume_mm3.round(2),
        "label": labels.astype(np.int64),
    }
    return pd.DataFrame(values)
