"""Draw docs/images/data_report.png: the page of `semilung data report` on a phantom cohort.

Four of its scans are spoiled, so that the page has something to say: one keeps the offset of
unsigned storage, one is mirrored, one is cut off in mid-lung, one is truncated. Needs Chromium.

Usage: python experiments/pictures/data_report.py [OUT.png]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from semilung.api.cohort_report import cohort_report
from semilung.api.phantom import phantom
from semilung.data import Volume, read_volume, write_volume

WIDTH, HEIGHT = 1100, 1720
COLOURS = 192
OUT = Path(__file__).parents[2] / "docs" / "images" / "data_report.png"


def main() -> None:
    """Write the picture."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    with tempfile.TemporaryDirectory() as folder:
        manifest = phantom(Path(folder) / "phantom", scans=24, size=80, spacing_mm=3.0, seed=1)
        spoil(manifest)
        page = cohort_report(manifest, progress=True).path
        picture = Path(folder) / "page.png"
        shoot(page, picture, Path(folder) / "profile")
        image = Image.open(picture).convert("RGB")
        out.parent.mkdir(parents=True, exist_ok=True)
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)


def spoil(manifest: Path) -> None:
    """Spoil the first scans of a phantom, with all that the manifest names of them."""
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    images = [manifest.parent / path for path in table["image"]]

    def change(row: int, columns: tuple[str, ...], edit: object) -> None:
        for path in (manifest.parent / table.loc[row, column] for column in columns):
            volume = read_volume(path)
            changed = edit(volume)  # type: ignore[operator]
            write_volume(path, changed.data, changed.affine)

    maps = ("image", "mask", "anatomy")
    change(1, ("image",), lambda v: Volume((v.data + 1024).astype(np.uint16), v.affine))
    change(2, maps, lambda v: Volume(v.data[::-1], v.affine))
    change(4, maps, lambda v: Volume(v.data[:, :, :40], v.affine))
    images[9].write_bytes(images[9].read_bytes()[:10_000])
    (manifest.parent / "nodules.csv").unlink()  # its centres are those of the unspoiled scans


def shoot(page: Path, picture: Path, profile: Path) -> None:
    """Take a picture of the top of a page."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is not installed")
    subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--hide-scrollbars", f"--user-data-dir={profile}", f"--screenshot={picture}",
            f"--window-size={WIDTH},{HEIGHT}", page.resolve().as_uri(),
        ],
        check=True, timeout=120, stderr=subprocess.DEVNULL,
    )  # fmt: skip


if __name__ == "__main__":
    main()
