"""Scans in a folder."""

import numpy as np
import pytest
from dicom_series import write_series

from semilung.data.importers.scan_files import by_name, require_scans, scans_below
from semilung.types import UserError


def test_scans_below_finds_files_and_series_at_any_depth(tmp_path):
    for name in ("a.nii.gz", "deep/b.MHA", "deep/c.nrrd", "deep/c.raw", "._a.nii.gz", "x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    write_series(tmp_path / "deep/series", np.full((4, 5, 3), -900))
    names = [str(path.relative_to(tmp_path)) for path in scans_below(tmp_path)]
    assert names == ["a.nii.gz", "deep/b.MHA", "deep/c.nrrd", "deep/series"]


def test_require_scans_of_an_empty_folder_lists_formats(tmp_path):
    with pytest.raises(UserError, match=r"no scan: .*nii.gz"):
        require_scans(tmp_path)


def test_by_name_two_scans_of_one_name_are_an_error(tmp_path):
    with pytest.raises(UserError, match="same name"):
        by_name([tmp_path / "a/x.nii", tmp_path / "b/x.mha"])
