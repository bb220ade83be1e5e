"""Findings: the nodules that were predicted in a scan, one row each."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage

from semilung.data.io.grid import ball_diameter_mm
from semilung.data.io.volume import Volume

LUNA16_COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "probability")
"""First columns of findings; LUNA16's evaluation reads a table with them."""

FINDING_COLUMNS = (*LUNA16_COLUMNS, "diameter_mm", "volume_mm3")

TO_LPS = np.array([-1.0, -1.0, 1.0])


def component_findings(mask: Volume, probability: Volume, name: str) -> pd.DataFrame:
    """Return a finding for each component of a mask, most probable first.

    Args:
        mask: `(X, Y, Z)`, foreground where it is not 0; its 26-connected components are findings.
        probability: `(X, Y, Z)` on the same grid.
        name: Of the scan.

    Returns:
        Columns `FINDING_COLUMNS`: `seriesuid` is the name, the coordinates are the component's
        centre in LPS+ mm (as LUNA16 and DICOM; negate x and y for RAS+), `probability` its highest,
        `diameter_mm` that of a ball of `volume_mm3`.

    Example:
        >>> data = np.zeros((9, 9, 9), np.uint8)
        >>> data[2:5, 3, 4] = 1
        >>> grid = np.diag([2.0, 2.0, 2.0, 1.0])
        >>> findings = component_findings(Volume(data, grid), Volume(data * 0.75, grid), "a")
        >>> ", ".join(map(str, findings.loc[0]))
        'a, -6.0, -6.0, 8.0, 0.75, 3.58, 24.0'
    """
    labels, count = ndimage.label(mask.data != 0, np.ones((3, 3, 3)))
    numbers = np.arange(1, count + 1)
    voxels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    voxel_mm3 = float(np.prod(mask.spacing_mm))
    centres = np.reshape(ndimage.center_of_mass(labels > 0, labels, numbers), (count, 3))
    world = (centres @ mask.affine[:3, :3].T + mask.affine[:3, 3]) * TO_LPS
    values = {
        "seriesuid": [name] * count,
        **dict(zip(LUNA16_COLUMNS[1:4], world.round(3).T, strict=True)),
        "probability": np.asarray(ndimage.maximum(probability.data, labels, numbers)).round(4),
        "diameter_mm": ball_diameter_mm(voxels, voxel_mm3).round(2),
        "volume_mm3": (voxels * voxel_mm3).round(2),
    }
    table = pd.DataFrame(values, columns=list(FINDING_COLUMNS))
    return table.sort_values("probability", ascending=False, kind="stable", ignore_index=True)
