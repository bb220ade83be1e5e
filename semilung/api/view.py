"""View of a prediction in a notebook: CT, mask and findings, drawn by WebGL in the browser."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.data import Volume
from semilung.data.io.grid import voxel_of
from semilung.data.io.same_grid import ras_grid
from semilung.evaluation.overlay import LUNG_WINDOW_HU
from semilung.inference.findings import COORDINATES
from semilung.types import UserError

if TYPE_CHECKING:
    from ipyniivue import NiiVue

    from semilung.api.prediction import Prediction

HEIGHT_PIXELS = 480

LOOK = {
    "is_radiological_convention": True,
    "mesh_thickness_on_2d": 3.0,  # a ball shows in the planes that cut it, not in all
    "crosshair_width": 0.5,
    "crosshair_color": (1.0, 0.8, 0.2, 0.6),
}
"""Options of the widget: radiological convention, as in reports."""


def view_prediction(prediction: Prediction, *, height: int = HEIGHT_PIXELS) -> NiiVue:
    """Return a widget that shows a prediction: three planes with mask and findings.

    The scan is shown in a lung window, in three planes through the most probable
    finding, the patient's right on the left; the predicted mask lies over it in red, and each
    finding is a ball of its diameter, named by its probability. Keys and mouse are NiiVue's: V
    changes the planes to a rendering, the right button changes the window. Everything is sent to
    the browser by the notebook itself: the widget loads nothing from the internet.

    Args:
        prediction: From `load(run).predict(scan)`.
        height: Of the widget in pixels.

    Returns:
        The widget; as the last line of a cell it is displayed.

    Raises:
        UserError: ipyniivue is not installed.
    """
    niivue = _ipyniivue()
    scan = prediction.volume
    window = dict(zip(("cal_min", "cal_max"), LUNG_WINDOW_HU, strict=True))
    layers = [
        niivue.Volume(
            data=nifti_bytes(scan),
            name="ct.nii.gz",
            colormap="gray",
            **window,
        )
    ]
    mask = prediction.outputs.get("nodules")
    if isinstance(mask, Volume):
        layers.append(
            niivue.Volume(
                data=nifti_bytes(mask), name="nodules.nii.gz", colormap="red", opacity=0.5,
                cal_min=0.0, cal_max=1.0, colorbar_visible=False,
            )
        )  # fmt: skip
    widget = niivue.NiiVue(height=height, **LOOK)
    widget.load_volumes(layers)
    findings = prediction.outputs.get("findings.csv")
    if isinstance(findings, pd.DataFrame) and len(findings):
        points = json.dumps(finding_points(findings)).encode()
        widget.load_meshes([niivue.Mesh(data=points, name="findings.jcon")])
        widget.scene.crosshair_pos = _place(findings, scan)
    return widget


def nifti_bytes(volume: Volume) -> bytes:
    """Return a volume as the bytes of a compressed NIfTI: as int16 where values fit."""
    image = nib.Nifti1Image(_compact(volume.data), volume.affine)
    return gzip.compress(image.to_bytes(), compresslevel=1)


def finding_points(findings: pd.DataFrame) -> dict[str, Any]:
    """Return findings as NiiVue's points: balls in RAS+ mm, coloured by their probability.

    Example:
        >>> row = {"coordX": -6.0, "coordY": 8.0, "coordZ": 9.0, "probability": 0.75}
        >>> points = finding_points(pd.DataFrame([{**row, "diameter_mm": 4.0}]))
        >>> points["nodes"]
        [{'name': '0.75', 'x': 6.0, 'y': -8.0, 'z': 9.0, 'colorValue': 0.75, 'sizeValue': 2.0}]
    """
    rows = findings[[*COORDINATES, "probability", "diameter_mm"]]
    nodes = [
        {
            "name": f"{probability:.2f}",
            "x": -x_mm,  # LPS+ to RAS+
            "y": -y_mm,
            "z": z_mm,
            "colorValue": probability,
            "sizeValue": diameter_mm / 2,
        }
        for x_mm, y_mm, z_mm, probability, diameter_mm in rows.astype(float).to_numpy().tolist()
    ]
    return {
        "name": "findings",
        "nodeColormap": "warm",
        "nodeMinColor": 0.0,
        "nodeMaxColor": 1.0,
        "nodeScale": 1.0,
        "nodes": nodes,
        "edges": [],
    }


def _place(findings: pd.DataFrame, scan: Volume) -> list[float]:
    """Place of the most probable finding, as shares of the scan's edges in RAS+."""
    x_mm, y_mm, z_mm = findings[list(COORDINATES)].to_numpy(float)[0].tolist()
    grid = ras_grid(scan)
    voxel = voxel_of(grid.affine, (-x_mm, -y_mm, z_mm))
    shares = np.clip((voxel + 0.5) / grid.shape, 0, 1)
    return [float(share) for share in shares]


def _compact(data: NDArray[Any]) -> NDArray[Any]:
    """The smallest type of NIfTI that viewers read: half a scan's bytes travel to the browser."""
    if data.dtype == np.uint8:
        return data
    limits = np.iinfo(np.int16)
    if data.min() < limits.min or data.max() > limits.max:
        return np.asarray(data, np.float32)
    whole: NDArray[np.int16] = np.rint(data).astype(np.int16)
    return whole


def _ipyniivue() -> Any:
    try:
        import ipyniivue
    except ModuleNotFoundError as error:
        raise UserError(
            "viewing a prediction needs ipyniivue, which is not installed: pip install "
            "'semilung[view]', or open the files of .write(folder) in a viewer"
        ) from error
    return ipyniivue
