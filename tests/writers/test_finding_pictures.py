"""Pictures of findings."""

import numpy as np
import pytest
from made_findings import ball, made_result

from semilung.data import Volume
from semilung.evaluation.overlay import PREDICTION_RGB, REFERENCE_RGB
from semilung.writers import finding_pictures as module
from semilung.writers.finding_pictures import finding_picture, finding_pictures, finding_thumbnail
from semilung.writers.scan_result import ScanResult

SHAPE = (60, 60, 40)
GRIDS = {
    "ras": np.array([[1.0, 0, 0, -30], [0, 1, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1]]),
    "lps": np.array([[-1.0, 0, 0, 30], [0, -1, 0, 20], [0, 0, 2, 5], [0, 0, 0, 1]]),
    "permuted": np.array([[0, 0, 2.0, -30], [1, 0, 0, -20], [0, 1, 0, 5], [0, 0, 0, 1]]),
}


def scan(affine, *balls):
    hu, probability = np.full(SHAPE, -850, np.int16), np.zeros(SHAPE)
    for k, (centre, radius) in enumerate(balls):
        at = ball(SHAPE, centre, radius)
        hu[at], probability[at] = 40, 0.9 - 0.1 * k
    return made_result(Volume(hu, affine), probability)


def pixels(picture, rgb):
    return np.argwhere((picture == rgb).all(-1))


def first_row(result, row=0):
    return result.findings.to_dict("records")[row]


@pytest.mark.parametrize("name", GRIDS)
def test_finding_picture_outlines_the_finding_in_the_middle_of_each_plane(name):
    result = scan(GRIDS[name], ((30, 30, 20), 5))
    picture = finding_picture(result, first_row(result))
    below = picture[60:]  # the header's key is orange too
    for panel in np.array_split(below, 3, axis=1):
        at = pixels(panel, PREDICTION_RGB)
        assert len(at) > 40
        middle = np.array(panel.shape[:2]) / 2
        assert np.abs((at.min(0) + at.max(0)) / 2 - middle).max() < 20
    assert len(pixels(below, REFERENCE_RGB)) == 0


def test_finding_picture_shows_another_finding_on_its_side_in_sky_blue():
    result = scan(GRIDS["ras"], ((30, 30, 20), 5), ((45, 30, 20), 4))  # to the patient's right
    for row, side in ((0, 1), (1, -1)):
        picture = finding_picture(result, first_row(result, row))[60:]
        axial = picture[:, : picture.shape[1] // 3]
        other, finding = pixels(axial, REFERENCE_RGB), pixels(axial, PREDICTION_RGB)
        assert side * (finding[:, 1].mean() - other[:, 1].mean()) > 20
        assert abs(finding[:, 1].mean() - axial.shape[1] / 2) < 20


def test_finding_picture_without_labels_draws_the_ball_of_the_diameter():
    result = scan(GRIDS["lps"], ((30, 30, 20), 5))
    bare = ScanResult(result.name, result.volume, result.findings)
    outline, of_ball = (
        len(pixels(finding_picture(one, first_row(result))[60:], PREDICTION_RGB))
        for one in (result, bare)
    )
    assert of_ball == pytest.approx(outline, rel=0.2)


@pytest.mark.parametrize("centre", [(0, 0, 0), (59, 59, 39), (30, 0, 39)])
def test_finding_picture_at_the_edge_of_the_scan_is_drawn(centre):
    result = scan(GRIDS["lps"], (centre, 3))
    picture = finding_picture(result, first_row(result))
    assert len(pixels(picture[60:], PREDICTION_RGB)) > 10


def test_finding_picture_of_a_centre_outside_the_scan_is_drawn_at_its_edge():
    result = scan(GRIDS["lps"], ((30, 30, 20), 5))
    row = {**first_row(result), "coordX": 500.0, "coordZ": -900.0}
    for data in (result.volume.data, (result.volume.data + 1024).astype(np.uint16)):
        bare = ScanResult("a", Volume(data, result.volume.affine), result.findings)
        assert finding_picture(bare, row).shape[2] == 3


def test_finding_picture_of_a_large_finding_shows_all_of_it():
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    result = scan(affine, ((30, 30, 20), 18))
    panel = np.array_split(finding_picture(result, first_row(result))[60:], 3, axis=1)[0]
    at = pixels(panel, PREDICTION_RGB)
    assert (at.min(0) > 4).all()
    assert (at.max(0) < np.array(panel.shape[:2]) - 4).all()


def test_finding_pictures_are_limited_to_the_first_of_the_table(monkeypatch):
    monkeypatch.setattr(module, "MAX_PICTURES", 2)
    result = scan(GRIDS["lps"], *(((10 + 20 * k, 30, 20), 2) for k in range(3)))
    assert len(result.findings) == 3
    assert len(list(finding_pictures(result))) == 2


@pytest.mark.parametrize("name", GRIDS)
def test_finding_thumbnail_shows_the_outline_in_the_middle(name):
    result = scan(GRIDS[name], ((30, 30, 20), 5))
    picture = finding_thumbnail(result, first_row(result))
    at = pixels(picture, PREDICTION_RGB)
    assert max(picture.shape[:2]) == module.THUMBNAIL_PIXELS
    assert np.abs((at.min(0) + at.max(0)) / 2 - np.array(picture.shape[:2]) / 2).max() < 8
    assert np.ptp(at, axis=0).max() > 20
