"""Frames of the coordinates of findings."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_findings import ball, made_result

from semilung.data import Volume
from semilung.writers.findings_json import findings_record
from semilung.writers.frames import FRAMES, frame_named, in_frame

SHAPE = (20, 20, 20)
AFFINE = np.diag([-0.7, -0.7, 2.0, 1.0])


@pytest.fixture
def result():
    return made_result(Volume(np.zeros(SHAPE, np.int16), AFFINE), 0.9 * ball(SHAPE, (6, 0, 5), 3))


def test_in_frame_ras_negates_x_and_y_and_names_itself_in_a_last_column(result):
    lps, ras = (in_frame(result.findings, frame) for frame in FRAMES)
    pd.testing.assert_frame_equal(lps, result.findings)
    assert list(ras.columns) == [*lps.columns, "frame"]
    assert set(ras["frame"]) == {"RAS"}
    voxel = np.linalg.solve(AFFINE, [*ras[["coordX", "coordY", "coordZ"]].iloc[0], 1])
    np.testing.assert_allclose(voxel[[0, 2]], [6, 5], atol=1e-3)  # the affine is to RAS+
    others = ["seriesuid", "coordZ", "probability", "diameter_mm", "volume_mm3", "label"]
    pd.testing.assert_frame_equal(lps[others], ras[others])


@pytest.mark.parametrize("frame", FRAMES)
def test_findings_record_states_the_frame_of_its_centres(result, frame):
    record = findings_record(replace(result, frame=frame), mask=None, labelled=False)
    x = in_frame(result.findings, frame)["coordX"].iloc[0]
    assert record["findings"][0]["centre_mm"][0] == x
    assert "frame" not in record["findings"][0]
    assert record["coordinate_frame"].startswith(f"{frame.upper()}+")
    assert frame_named(record["coordinate_frame"]) == frame


def test_frame_named_of_another_programs_text_is_unknown():
    assert frame_named("RAS") is None
