"""Centres and diameters of the training nodules, as a reader without a mask would give them.

    python experiments/lidc_cubes/manifest.py OUT
    python experiments/lidc_cubes/boxes.py OUT [SEED]

writes OUT/nodules.csv, one row for each labelled *training* cube of OUT/manifest.csv; masks of
validation and test cubes are not opened. The rows are derived from the masks and then blurred:

- the box is that of the mask's largest component (26 neighbours), its edges in mm of whole voxels;
- the centre is the box's, moved along each axis by up to 10 % of that edge;
- the diameter is the geometric mean of the three edges, times a factor of 0.9 to 1.1.

Both errors are uniform, and depend on SEED (0 by default) and the name of the cube alone. The
comment of a result that uses them must say so: they are better than a hurried reader's, worse than
the masks'. The last line prints how the balls that the rows describe compare with the masks.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from semilung.csv_tables import write_csv
from semilung.data import read_volume, to_ras
from semilung.data.io.grid import ball_voxels
from semilung.evaluation.segmentation import dice

JITTER = 0.1


def main() -> None:
    """Write OUT/nodules.csv."""
    out = Path(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    manifest = pd.read_csv(out / "manifest.csv", dtype=str)
    train = manifest[(manifest["role"] == "labelled") & (manifest["split"] == "train")]
    rows, overlaps = [], []
    for case, mask in zip(train["case"], train["mask"], strict=True):
        volume = to_ras(read_volume(Path(mask)))
        rng = np.random.default_rng([seed, zlib.crc32(case.encode())])
        centre_mm, diameter_mm = blurred_box(volume.data > 0, volume.affine, rng)
        x, y, z = centre_mm.tolist()
        rows.append({"case": case, "nodule": 1, "x_mm": x, "y_mm": y, "z_mm": z})
        rows[-1] |= {"diameter_mm": diameter_mm, "source": "mask extents, 10 % jitter"}
        described = np.zeros(volume.shape, np.uint8)
        box, ball = ball_voxels(volume.shape, volume.affine, (x, y, z), diameter_mm / 2)
        described[box][ball] = 1
        overlaps.append(dice(described, volume.data))
    write_csv(out / "nodules.csv", pd.DataFrame(rows).round(3))
    print(f"{out / 'nodules.csv'}: {len(rows)} nodules; mean Dice of their balls with the masks")
    print(f"{np.mean(overlaps):.3f} (lowest {min(overlaps):.3f}, highest {max(overlaps):.3f})")


def blurred_box(
    mask: NDArray[np.bool_], affine: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Return a centre in RAS+ mm and a diameter in mm, both with an error of up to 10 %."""
    components, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(mask, components, range(1, count + 1))
    box = ndimage.find_objects(components)[int(np.argmax(sizes))]
    low, high = (np.array([getattr(cut, end) for cut in box]) for end in ("start", "stop"))
    edges = (high - low).astype(float)
    middle = (low + high - 1) / 2 + rng.uniform(-JITTER, JITTER, 3) * edges
    edges_mm = edges * np.linalg.norm(affine[:3, :3], axis=0)
    diameter_mm = np.prod(edges_mm) ** (1 / 3) * rng.uniform(1 - JITTER, 1 + JITTER)
    return (affine @ [*middle, 1])[:3], float(diameter_mm)


if __name__ == "__main__":
    main()
