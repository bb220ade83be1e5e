"""Leaks between splits: a case, a patient, or one volume under two names."""

import numpy as np
from audit_cases import prepared

from semilung.training.audits import audit_split_leakage


def volume(seed):
    return np.random.default_rng(seed).integers(-900, 100, (40, 12, 12))


def test_a_copy_under_another_name_and_patient_is_found(tmp_path):
    train = [prepared(tmp_path, f"t{i}", volume(i), "labelled", mask=volume(0) > 0) for i in (0, 1)]
    copy = prepared(tmp_path, "copy", volume(1), "healthy")
    other = prepared(tmp_path, "other", volume(2), "healthy")
    found = audit_split_leakage({"train": train}, [other, copy], what="val")
    assert found.status == "warning"
    assert "copy is the same volume as t1 of train" in found.summary
    assert "other" not in found.summary
    assert found.metrics == {"leaks": 1, "judged_cases": 2, "known_cases": 2}


def test_one_voxel_of_difference_is_another_volume(tmp_path):
    near = volume(1)
    near[39, 11, 11] += 1
    train = [prepared(tmp_path, "t1", volume(1), "healthy")]
    judged = [prepared(tmp_path, "near", near, "healthy")]
    assert audit_split_leakage({"train": train}, judged, what="test").status == "ok"


def test_equal_checksums_alone_are_no_leak(tmp_path):
    """Volumes of as many voxels may be stored as the same bytes, whatever their shape."""
    long, wide = np.full((32, 12, 12), -900), np.full((12, 32, 12), -900)
    long[0, 0, 0] = wide[0, 0, 0] = 0
    train = prepared(tmp_path, "long", long, "healthy")
    judged = prepared(tmp_path, "wide", wide, "healthy")
    assert train.checksums == judged.checksums
    assert audit_split_leakage({"train": [train]}, [judged], what="test").status == "ok"


def test_a_patient_and_a_case_on_both_sides_are_found(tmp_path):
    train = [prepared(tmp_path, "a", volume(1), "healthy", patient="p")]
    val = [prepared(tmp_path, "b", volume(2), "healthy", patient="q")]
    judged = [prepared(tmp_path, "c", volume(3), "healthy", patient="q"), train[0]]
    found = audit_split_leakage({"train": train, "val": val}, judged, what="test")
    assert found.metrics["leaks"] == 2
    assert "c is of a patient of val" in found.summary
    assert "a is in train too" in found.summary


def test_nothing_to_compare_is_not_applicable(tmp_path):
    train = [prepared(tmp_path, "a", volume(1), "healthy")]
    assert audit_split_leakage({"train": train}, [], what="val").status == "not applicable"
    assert audit_split_leakage({"train": []}, train, what="val").status == "not applicable"
