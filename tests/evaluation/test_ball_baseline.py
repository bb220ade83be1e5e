from __future__ import annotations

import csv

import numpy as np
import pytest

from semilung.data.io.volume import read_volume
from semilung.evaluation import best_ball, content_blind_ball
from semilung.types import UserError


def test_content_blind_ball_anisotropic_spacing_has_radius_in_mm():
    # Radius 2 mm on a grid of 1 x 1 x 2 mm: 13 in the centre plane, 1 above, 1 below.
    ball = content_blind_ball((7, 7, 7), (3, 3, 3), 2.0, (1, 1, 2))
    assert ball.sum() == 15
    assert ball[3, 3, 2] == ball[3, 3, 4] == ball[1, 3, 3] == 1
    assert ball[3, 3, 1] == ball[0, 3, 3] == 0


def test_content_blind_ball_centre_between_voxels_is_exact():
    assert content_blind_ball((4, 4, 4), (1.5, 1.5, 1.5), 0.9, (1, 1, 1)).sum() == 8


def test_best_ball_selects_the_best_radius():
    truth = [content_blind_ball((15, 15, 15), (7, 7, 7), r, (1, 1, 1)) for r in (4.0, 4.2)]
    ball = best_ball(truth, (1, 1, 1), (2, 3, 4, 5, 6), (7, 7, 7))
    assert ball.radius_mm == 4
    assert ball.dice > 0.95


def test_best_ball_off_centre_returns_its_centre():
    truth = content_blind_ball((15, 15, 21), (5, 8.5, 6), 3.0, (1, 1, 0.5))
    assert best_ball([truth], (1, 1, 0.5), (2, 3, 4), (5, 8.5, 6)) == ((5.0, 8.5, 6.0), 3.0, 1.0)


def test_best_ball_without_masks_of_one_shape_is_an_error():
    with pytest.raises(UserError, match="masks of one shape"):
        best_ball([], (1, 1, 1), (2,), (1, 1, 1))
    with pytest.raises(UserError, match="masks of one shape"):
        best_ball([np.ones((2, 2, 2)), np.ones((3, 2, 2))], (1, 1, 1), (2,), (1, 1, 1))


@pytest.mark.parametrize(("split", "expected"), [("train", 0.456), ("test", 0.511)])
def test_best_ball_of_the_nodule_cubes_has_the_published_dice(split, expected, real_data):
    folder = real_data / "nodule_cubes"
    with (folder / "index.csv").open() as file:
        cases = [row["case"] for row in csv.DictReader(file) if row["split"] == split]
    masks = [read_volume(folder / f"{case}_mask.nii.gz").data for case in cases]
    ball = best_ball(masks, (1, 1, 1), np.arange(2, 9, 0.5), (26.5, 26.5, 23.5))
    assert ball.radius_mm == 4.5
    assert ball.dice == pytest.approx(expected, abs=5e-4)
