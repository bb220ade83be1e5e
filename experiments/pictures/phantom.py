"""Draw docs/images/phantom.png: one phantom scan in three planes, its nodules outlined.

Radiological convention: the patient's right is on the left of the axial and coronal planes, so the
heart leans to the right of the picture; the sagittal plane faces left.

Usage: python experiments/pictures/phantom.py [OUT.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from semilung.data.phantom import draw_scan

WINDOWS_HU = {"lung window": (-1000, 400), "mediastinal window": (-160, 240)}
SIDES = {2: "RL", 1: "RL", 0: "AP"}
"""Axis across each plane to what lies on the left and on the right of the picture."""

SPACING_MM = 1.5
SCALE_MM = 50
OUT = Path(__file__).parents[2] / "docs" / "images" / "phantom.png"


def main() -> None:
    """Write the picture."""
    scan = draw_scan(6, diseased=True, size=128, spacing_mm=SPACING_MM, seed=0)
    centre = np.argwhere(scan.mask == 1).mean(axis=0).round().astype(int)
    figure, axes = plt.subplots(2, 3, figsize=(7.5, 5.3), facecolor="black")
    for row, (name, (low, high)) in zip(axes, WINDOWS_HU.items(), strict=True):
        row[0].set_title(name, color="white", fontsize=9, loc="left")
        for axis, (plane, sides) in zip(row, SIDES.items(), strict=True):
            # indices of a RAS scan grow towards right, anterior and superior: both axes are drawn
            # from their high end
            image, mask = (
                np.take(v, centre[plane], plane).T[::-1, ::-1] for v in (scan.image, scan.mask)
            )
            axis.imshow(image, cmap="gray", vmin=low, vmax=high)
            axis.contour(mask > 0, [0.5], colors="red", linewidths=0.8)
            axis.axis("off")
            _letter(axis, sides)
        _draw_scale(row[0])
    figure.tight_layout(pad=0.4)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=80)


def _letter(axis: Axes, sides: str) -> None:
    for x, letter, side in zip((0.02, 0.98), sides, ("left", "right"), strict=True):
        axis.text(x, 0.5, letter, color="white", fontsize=8, ha=side, transform=axis.transAxes)


def _draw_scale(axis: Axes) -> None:
    bottom, _ = axis.get_ylim()
    axis.plot([4, 4 + SCALE_MM / SPACING_MM], [bottom - 4] * 2, color="white", linewidth=2)
    axis.text(4, bottom - 7, f"{SCALE_MM} mm", color="white", fontsize=7, va="bottom")


if __name__ == "__main__":
    main()
