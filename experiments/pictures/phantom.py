"""Draw docs/images/phantom.png: one phantom scan in three planes, its nodules outlined.

Usage: python experiments/pictures/phantom.py [OUT.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

from semilung.data.phantom import draw_scan

WINDOWS_HU = {"lung window": (-1000, 400), "mediastinal window": (-160, 240)}
OUT = Path(__file__).parents[2] / "docs" / "images" / "phantom.png"


def main() -> None:
    """Write the picture."""
    scan = draw_scan(6, diseased=True, size=128, spacing_mm=1.5, seed=0)
    centre = np.argwhere(scan.mask == 1).mean(axis=0).round().astype(int)
    figure, axes = plt.subplots(2, 3, figsize=(7.5, 5.3), facecolor="black")
    for row, (name, (low, high)) in zip(axes, WINDOWS_HU.items(), strict=True):
        row[0].set_title(name, color="white", fontsize=9, loc="left")
        for axis, plane in zip(row, (2, 1, 0), strict=True):
            image, mask = (np.take(v, centre[plane], plane).T for v in (scan.image, scan.mask))
            axis.imshow(image, origin="lower", cmap="gray", vmin=low, vmax=high)
            axis.contour(mask > 0, [0.5], colors="red", linewidths=0.8)
            axis.axis("off")
    figure.tight_layout(pad=0.4)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=80)


if __name__ == "__main__":
    main()
