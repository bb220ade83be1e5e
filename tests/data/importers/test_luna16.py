"""Import of LUNA16."""

import numpy as np
import pytest
import SimpleITK

from semilung.data import check_manifest, read_manifest
from semilung.data.importers import import_cohort
from semilung.types import UserError

HEADER = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"


@pytest.fixture
def source(tmp_path):
    """Two subsets of three scans in LPS; a sphere of tissue at the annotated centre."""
    rng = np.random.default_rng(0)
    for number, uid in enumerate(("1.2.3", "1.2.4", "1.2.5")):
        hu = rng.integers(-900, -800, (24, 26, 28)).astype(np.int16)  # z, y, x
        grid = np.stack(np.meshgrid(*map(np.arange, hu.shape), indexing="ij"))
        centre = np.array([12, 10, 8]).reshape(3, 1, 1, 1)
        hu[((grid - centre) ** 2).sum(0) < 16] = 40
        image = SimpleITK.GetImageFromArray(hu)
        image.SetOrigin((-100.0, 50.0, -200.0))
        image.SetSpacing((1.0, 1.0, 1.25))
        folder = tmp_path / f"luna/subset{number // 2}"
        folder.mkdir(parents=True, exist_ok=True)
        SimpleITK.WriteImage(image, str(folder / f"{uid}.mhd"))
    (tmp_path / "luna/annotations.csv").write_text(
        HEADER + "1.2.3,-92.0,60.0,-185.0,7.5\n1.2.5,-92.0,60.0,-185.0,7.5\n"
    )
    (tmp_path / "luna/annotations_excluded.csv").write_text(
        HEADER + "1.2.3,-80.0,70.0,-190.0,-1.0\n1.2.4,-80.0,70.0,-190.0,4.0\n"
    )
    return tmp_path / "luna"


def test_luna16_annotations_become_nodules_in_ras(source, tmp_path):
    manifest, _ = import_cohort("luna16", source, tmp_path / "out")
    a, b, c = read_manifest(manifest)
    assert [(x.case, x.role, x.bag_label) for x in (a, b, c)] == [
        ("1.2.3", "labelled", 1), ("1.2.4", "weak", 0), ("1.2.5", "labelled", 1),
    ]  # fmt: skip
    assert [x.targets["subset"] for x in (a, b, c)] == ["0", "0", "1"]
    nodule, excluded = a.nodules
    assert nodule.centre_mm == (92.0, -60.0, -185.0)
    assert (nodule.diameter_mm, nodule.ignored) == (7.5, False)
    assert excluded.centre_mm == (80.0, -70.0, -190.0)
    assert (excluded.diameter_mm, excluded.ignored) == (None, True)
    assert check_manifest(manifest) == []  # the centre is tissue, so not mirrored


def test_luna16_subsets_are_splits(source, tmp_path):
    options = {"test": [1]}
    cases = import_cohort("luna16", source, tmp_path / "out", options=options)[1]
    assert [case.split for case in cases] == ["train", "train", "test"]
    with pytest.raises(UserError, match="each once"):
        import_cohort("luna16", source, tmp_path / "b", options={"val": [1], "test": [1]})


def test_luna16_damaged_tables_are_named(source, tmp_path):
    (source / "annotations.csv").write_text(HEADER + "1.2.3,left,1,2,3\n")
    with pytest.raises(UserError, match=r"annotations.csv, row 2: .*left"):
        import_cohort("luna16", source, tmp_path / "out")
    (source / "annotations.csv").write_text("seriesuid,x\n1.2.3,4\n")
    with pytest.raises(UserError, match="lacks the columns coordX"):
        import_cohort("luna16", source, tmp_path / "out")
