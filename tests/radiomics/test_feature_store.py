"""Rows of cases on disk: resumed if settings and files are the same."""

import pytest

from semilung.data import Case
from semilung.radiomics.feature_store import FeatureStore
from semilung.radiomics.nodule_rows import NoduleRows
from semilung.types import UserError

RECORD = {"mirp": "2.7", "settings": {"bins": None, "range_hu": (-1000.0, 400.0)}}
ROWS = NoduleRows([{"case": "settings", "nodule": "1", "stat_mean": float("nan")}], [])


@pytest.fixture
def case(tmp_path):
    image, mask = tmp_path / "ct.nii.gz", tmp_path / "mask.nii.gz"
    image.write_bytes(b"ct")
    mask.write_bytes(b"mask")
    return Case("settings", "p", image, "labelled", mask=mask)


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(tmp_path / "o_cases")
    store.open(RECORD)
    return store


def test_feature_store_returns_the_rows_that_were_written(store, case):
    assert not store.has(case)
    store.write(case, ROWS)
    store.open(RECORD)  # as the next call does
    assert store.has(case)
    assert repr(store.read([case])) == repr(ROWS)


def test_feature_store_of_other_settings_is_refused_or_emptied(store, case):
    store.write(case, ROWS)
    other = {**RECORD, "settings": {"bins": 32, "range_hu": (-1000.0, 400.0)}}
    with pytest.raises(UserError, match=r"settings\.bins None, which is now 32"):
        store.open(other)
    assert store.has(case)
    store.open(other, overwrite=True)
    assert not store.has(case)


def test_feature_store_has_no_case_whose_mask_has_changed(store, case):
    store.write(case, ROWS)
    case.mask.write_bytes(b"another mask")
    assert not store.has(case)


def test_feature_store_has_no_case_without_the_perturbed_rows_that_are_wanted(store, case):
    store.write(case, ROWS)
    wanting = FeatureStore(store.folder, perturb=True)
    assert not wanting.has(case)
    wanting.write(case, NoduleRows(ROWS.nodules, [{"perturbation": "eroded"}]))
    assert wanting.has(case)
    wanting.write(case, NoduleRows([], []))  # a case without nodules
    assert wanting.has(case)
