"""Each kind of outlier, and usual scans that are none."""

import pytest
from surveys import lungs, survey

from semilung.report.cohort.outliers import list_outliers
from semilung.report.cohort.scan_survey import SurveyedNodule


def nodule(*place):
    return (SurveyedNodule(8.0, (1.0, 1.0, 1.0), place),)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, []),
        ({"is_hu": False, "issue": "values run from 0 to 9", "lungs": None}, ["not HU"]),
        ({"issue": "are these HU?"}, ["doubtful HU"]),
        ({"lacking": True, "issue": "no lungs", "lungs": None}, ["no chest"]),
        ({"shape": (300, 260, 12)}, ["few slices"]),
        ({"shape": (300, 260, 60)}, ["few slices"]),
        ({"shape": (51, 51, 12), "lungs": None}, []),  # a cube is no chest
        ({"spacing_mm": (0.8, 0.8, 5.5)}, ["large voxels"]),
        ({"spacing_mm": (0.8, 0.8, 0.5), "shape": (300, 260, 600)}, ["other voxels"]),
        ({"spacing_mm": (2.4, 2.4, 2.0), "shape": (100, 90, 150)}, ["other voxels"]),
        ({"lungs": lungs(cut=("bottom", "top"))}, ["cut lungs"]),
        ({"lungs": lungs(volume_ml=600)}, ["lung volume"]),
        ({"lungs": lungs(volume_ml=600, cut=("top",))}, ["cut lungs"]),
        ({"lungs": lungs(left_right="reversed")}, ["flipped left-right"]),
        ({"lungs": lungs(left_right="undecided")}, []),
        ({"nodules": nodule(0.5, 0.5, 0.5)}, []),
        ({"nodules": nodule(0.5, 1.3, 0.5)}, ["nodule outside"]),
        ({"nodules": nodule(0.5, -0.05, 0.5)}, []),
        ({"shape": None}, []),  # an error of the check
    ],
)
def test_list_outliers_names_each_kind_once(changes, kinds):
    usual = [survey(f"usual_{i}") for i in range(3)]
    outliers = list_outliers([*usual, survey("odd", **changes)])
    assert [outlier.kind for outlier in outliers.pop("odd", [])] == kinds
    assert outliers == {}


def test_list_outliers_names_every_cut_face():
    faces = {
        cut: list_outliers([survey("a", lungs=lungs(cut=cut))])["a"][0].reason.split(": ")[1]
        for cut in (("top",), ("back", "top"), ("back", "bottom", "top"))
    }
    assert list(faces.values()) == ["top", "back and top", "back, bottom and top"]
