"""Captioned overlay of a case: orientation, scale bar in mm, close-up, legend and case name."""

import warnings

import numpy as np
import pytest

from semilung.evaluation import panels as module
from semilung.evaluation.case_picture import case_picture
from semilung.evaluation.overlay import PREDICTION_RGB, REFERENCE_RGB

HEADER = 56
SHAPE = (40, 40, 40)


def picture_of(reference=None, prediction=None, *, shape=SHAPE, spacing_mm=(2, 2, 2), title="n1"):
    image = np.full(shape, -1000, np.int16)
    empty = np.zeros(shape, np.uint8)
    return case_picture(
        image, reference=empty if reference is None else reference,
        prediction=empty if prediction is None else prediction,
        spacing_mm=spacing_mm, window_hu=(-1000.0, 400.0), title=title,
    )  # fmt: skip


@pytest.fixture
def texts(monkeypatch):
    """Text of the picture with its pixel, counted from the upper left corner."""
    written = []
    write = module._text

    def record(figure, x, y, text, **look):
        written.append((text, round(x), round(y)))
        return write(figure, x, y, text, **look)

    monkeypatch.setattr(module, "_text", record)
    return written


def ball(centre, radius=4, shape=SHAPE):
    grid = np.indices(shape).T - np.array(centre)
    return (radius**2 >= (grid**2).sum(axis=-1).T).astype(np.uint8)


def columns(rgb, colour):
    return np.argwhere((rgb[HEADER:] == colour).all(axis=2))


def test_case_picture_shows_the_patients_right_on_the_left_with_letters(texts):
    rgb = picture_of(ball((33, 20, 20)))  # high x is the patient's right
    axial = rgb[:, :320]
    assert columns(axial, REFERENCE_RGB)[:, 1].max() < 160
    right = next(x for text, x, _ in texts if text == "R")
    left = next(x for text, x, _ in texts if text == "L")
    assert right < 160 < left < 320
    assert [text for text, _, _ in texts][:3] == ["R", "L", "A"]
    assert {"S", "I", "P"} <= {text for text, _, _ in texts}


def test_case_picture_scale_bar_has_its_length_in_mm(texts):
    rgb = picture_of()  # 80 mm over 320 pixels: 4 pixels a mm
    (length,) = [int(text.split()[0]) for text, _, _ in texts if text.endswith(" mm")]
    row = rgb[-8]
    white = np.flatnonzero((row[:160] > 200).all(axis=1))
    assert length == 20
    assert abs(len(white) - length * 4) <= 2


def test_case_picture_anisotropic_voxels_keep_their_shape_in_mm():
    cube = np.zeros((40, 40, 10), np.uint8)
    cube[16:24, 16:24, 4:6] = 1  # 16 x 16 x 16 mm
    rgb = picture_of(cube, shape=(40, 40, 10), spacing_mm=(2, 2, 8))
    coronal = columns(rgb[: HEADER + 320, 324:644], REFERENCE_RGB)
    height, width = np.ptp(coronal, axis=0)
    assert abs(height - width) <= 2


def test_case_picture_names_case_window_volumes_and_both_colours(texts):
    rgb = picture_of(ball((20, 20, 20)), ball((20, 20, 20), 3))
    words = [text for text, _, _ in texts]
    assert "n1" in words
    assert "window \N{MINUS SIGN}1000 to 400 HU" in words
    assert any(w.endswith("reference: 2.06 ml") for w in words)  # 257 voxels of 8 mm3
    assert any("prediction: 0.98 ml" in w for w in words)
    for colour in (REFERENCE_RGB, PREDICTION_RGB):
        assert len(columns(rgb, colour)) > 100
        legend = np.abs(rgb[:HEADER].astype(int) - colour).sum(axis=2)
        assert (legend < 12).any()


def test_case_picture_silent_healthy_scan_has_no_close_up_and_volume_none(texts):
    silent = picture_of()
    assert [w for w, _, _ in texts if w.endswith(": none")] == [
        "\N{BLACK SQUARE} reference: none", "\N{BLACK SQUARE} prediction: none",
    ]  # fmt: skip
    assert picture_of(prediction=ball((20, 20, 20))).shape[0] > silent.shape[0] + 200


def test_case_picture_close_up_at_an_edge_stays_within_the_scan():
    rgb = picture_of(ball((0, 39, 0)), spacing_mm=(4, 4, 4))
    close_up = rgb[HEADER + 320 :]
    assert (close_up == REFERENCE_RGB).all(axis=2).any()


@pytest.mark.parametrize("title", ["$x_{", "a\x1b[31m\n", "x" * 500, "肺", ""])
def test_case_picture_of_any_name_is_drawn_without_warning(texts, title):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture_of(title=title)
    (name,) = [text for text, x, y in texts if (x, y) == (8, 5)]
    assert len(name) <= 60
    assert name.isprintable()


def test_case_picture_mask_of_another_shape_is_an_error():
    with pytest.raises(ValueError, match="shape"):
        picture_of(np.zeros((2, 2, 2)))
