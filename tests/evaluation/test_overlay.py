from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from semilung.evaluation import overlay_planes, write_png
from semilung.evaluation.overlay import PREDICTION_RGB, REFERENCE_RGB

WINDOW_HU = (-1000.0, 400.0)
SIZE, FACTOR, GAP = 20, 16, 4  # 320 pixels a panel
PANEL = SIZE * FACTOR


def dark() -> np.ndarray:
    return np.full((SIZE, SIZE, SIZE), -1000, np.int16)


def panels(rgb: np.ndarray) -> list[np.ndarray]:
    assert rgb.shape == (PANEL, 3 * PANEL + 2 * GAP, 3)
    starts = [0, PANEL + GAP, 2 * (PANEL + GAP)]
    return [rgb[:, start : start + PANEL] for start in starts]


def middle(where: np.ndarray) -> tuple[float, float]:
    row, column = np.argwhere(where).mean(axis=0)
    return row / PANEL, column / PANEL


def test_overlay_planes_follow_radiological_convention():
    image = dark()
    image[10, 10, 10] = 400
    image[18, 10, 10] = 400  # towards the patient's right
    image[10, 17, 10] = 400  # towards the front
    image[10, 10, 16] = 400  # towards the head
    axial, coronal, sagittal = panels(
        overlay_planes(image, window_hu=WINDOW_HU, centre=(10, 10, 10))
    )

    def bright(panel: np.ndarray) -> set[tuple[int, int]]:
        """(rows down, columns right) of the bright voxels, relative to the centre."""
        at = np.argwhere(panel[FACTOR // 2 :: FACTOR, FACTOR // 2 :: FACTOR, 0] == 255)
        return {(int(row) - 9, int(column) - 9) for row, column in at} - {(0, 0)}

    assert bright(axial) == {(0, -8), (-7, 0)}  # right is left, front is up
    assert bright(coronal) == {(0, -8), (-6, 0)}  # right is left, head is up
    assert bright(sagittal) == {(0, -7), (-6, 0)}  # front is left, head is up


def test_overlay_planes_of_equal_masks_show_both_outlines():
    mask = np.zeros((SIZE, SIZE, SIZE), np.uint8)
    mask[4:8, 9:13, 9:13] = 3
    rgb = overlay_planes(dark(), reference=mask, prediction=mask, window_hu=WINDOW_HU)
    axial = panels(rgb)[0]
    side = 4 * FACTOR
    assert (axial == REFERENCE_RGB).all(axis=2).sum() == 4 * side
    assert (axial == PREDICTION_RGB).all(axis=2).sum() == 4 * side - 4
    row, column = middle((axial == PREDICTION_RGB).all(axis=2))
    assert column > 0.6  # low x, the patient's left, is on the right
    assert row < 0.5


def test_overlay_planes_pass_through_the_largest_reference_component():
    mask = np.zeros((SIZE, SIZE, SIZE), np.uint8)
    mask[2:5, 2:5, 2:5] = 1
    mask[15, 15, 15] = 2
    image = dark()
    image[3, 3, 3] = 400
    for masks in ({"reference": mask}, {"prediction": mask}):
        for panel in panels(overlay_planes(image, window_hu=WINDOW_HU, **masks)):
            assert (panel == 255).all(axis=2).any()


def test_overlay_planes_prefer_the_reference_and_skip_ignored_voxels():
    reference, prediction = np.zeros((2, SIZE, SIZE, SIZE), np.uint8)
    reference[3, 3, 3], prediction[16, 16, 16] = 1, 1
    reference[10:, :, :] = 255
    rgb = overlay_planes(dark(), reference=reference, prediction=prediction, window_hu=WINDOW_HU)
    assert (rgb == REFERENCE_RGB).all(axis=2).sum() == 3 * 4 * FACTOR
    assert not (rgb == PREDICTION_RGB).all(axis=2).any()


def test_overlay_planes_of_a_flat_volume_are_padded_to_one_height():
    image = np.full((40, 30, 10), 400, np.int16)
    rgb = overlay_planes(image, window_hu=WINDOW_HU)
    assert rgb.shape == (30 * 8, (40 + 40 + 30) * 8 + 2 * GAP, 3)
    coronal = rgb[:, 40 * 8 + GAP : 80 * 8 + GAP, 0]
    assert (coronal[10 * 8 : 20 * 8] == 255).all()
    assert (coronal[: 10 * 8] == 0).all()


def test_overlay_planes_mask_of_another_shape_is_an_error():
    with pytest.raises(ValueError, match="shape"):
        overlay_planes(dark(), reference=np.zeros((2, 2, 2)), window_hu=WINDOW_HU)


def test_write_png_reads_back_equal(tmp_path: Path):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    write_png(tmp_path / "new" / "picture.png", rgb)
    read = matplotlib.image.imread(tmp_path / "new" / "picture.png")
    np.testing.assert_array_equal(np.rint(read[..., :3] * 255), rgb)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["picture.png"]
