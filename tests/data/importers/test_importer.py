"""What holds for every importer."""

import numpy as np
import pytest

from semilung.data import read_manifest, write_volume
from semilung.data.importers import import_cohort, importers
from semilung.types import UserError


@pytest.fixture
def source(tmp_path):
    for name in ("a", "a_mask", "b"):
        write_volume(tmp_path / f"in/{name}.nii.gz", np.ones((3, 3, 3), np.int16), np.eye(4))
    return tmp_path / "in"


@pytest.mark.parametrize("role", ["healthy", "unlabelled"])
def test_import_with_a_role_leaves_contradicting_labels_out(source, tmp_path, role):
    manifest, cases = import_cohort("folder", source, tmp_path / "out", role=role, cohort="site A")
    assert read_manifest(manifest) == cases
    assert {(case.role, case.mask, case.cohort) for case in cases} == {(role, None, "site A")}


def test_import_as_labelled_or_weak_needs_labels(source, tmp_path):
    for role, message in (("labelled", "case b has neither"), ("weak", "needs a label")):
        with pytest.raises(UserError, match=message):
            import_cohort("folder", source, tmp_path / "out", role=role)
    assert not (tmp_path / "out").exists()


def test_import_as_weak_takes_the_label_from_the_mask(source, tmp_path):
    (source / "b.nii.gz").unlink()
    for value, label in ((1, 1), (0, 0), (255, 0)):
        mask = np.full((3, 3, 3), value, np.uint8)
        write_volume(source / "a_mask.nii.gz", mask, np.eye(4))
        (case,) = import_cohort("folder", source, tmp_path / f"{value}", role="weak")[1]
        assert (case.role, case.bag_label, case.mask) == ("weak", label, None)


def test_import_into_a_folder_with_a_manifest_asks_before_it_replaces(source, tmp_path):
    manifest, _ = import_cohort("folder", source, tmp_path / "out")
    before = manifest.read_bytes()
    with pytest.raises(UserError, match="--overwrite"):
        import_cohort("folder", source, tmp_path / "out", role="healthy")
    assert manifest.read_bytes() == before
    import_cohort("folder", source, tmp_path / "out", role="healthy", overwrite=True)
    assert manifest.read_bytes() != before


@pytest.mark.parametrize("name", list(importers))
def test_importers_of_what_is_not_theirs_report_one_error(name, tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.write_bytes(b"\x00\xff[{")
    (folder / "dataset.json").write_text('{"labels": 3, "training": [null]}')
    for source in (tmp_path / "missing", folder, file):
        with pytest.raises(UserError):
            import_cohort(name, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_import_of_an_unknown_format_or_role_suggests_one(source, tmp_path):
    with pytest.raises(UserError, match="folder"):
        import_cohort("foldr", source, tmp_path / "out")
    with pytest.raises(UserError, match="healthy"):
        import_cohort("folder", source, tmp_path / "out", role="normal")
