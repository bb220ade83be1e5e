"""One manifest from several."""

import numpy as np
import pytest
from dicom_series import write_series

from semilung.data import Case, Nodule, read_manifest, write_manifest
from semilung.data.manifest.merge import merge_manifests, uids_of
from semilung.types import UserError


def case(name, image, **attributes):
    options = {"patient": name, "role": "unlabelled", "cohort": "A"} | attributes
    return Case(case=name, image=image, **options)


@pytest.fixture
def merged(tmp_path):
    """Merge lists of cases, each as a manifest of its own folder."""

    def merge(*parts):
        manifests = [
            write_manifest(tmp_path / f"part{k}/manifest.csv", part) for k, part in enumerate(parts)
        ]
        out = tmp_path / "out/manifest.csv"
        return read_manifest(merge_manifests(manifests, out, overwrite=True))

    return merge


def test_merge_equal_names_are_of_different_patients(merged, tmp_path):
    a = [case("1", tmp_path / "a.nii"), case("2", tmp_path / "b.nii")]
    b = [case("1", tmp_path / "c.nii", cohort="B", role="healthy")]
    cases = merged(a, b)
    assert [(c.case, c.patient, c.role) for c in cases] == [
        ("A-1", "A-1", "unlabelled"), ("2", "2", "unlabelled"), ("B-1", "B-1", "healthy"),
    ]  # fmt: skip
    assert cases[2].image.name == "c.nii"


def test_merge_keeps_nodules_with_their_case(merged, tmp_path):
    nodule = Nodule("n", (1.0, 2.0, 3.0), 5.0)
    a = [case("1", tmp_path / "a.nii", role="labelled", nodules=(nodule,))]
    b = [case("1", tmp_path / "c.nii", cohort="B", role="labelled", nodules=(nodule,))]
    assert [(c.case, len(c.nodules)) for c in merged(a, b)] == [("A-1", 1), ("B-1", 1)]


def test_merge_scans_of_one_study_are_of_one_patient(merged, tmp_path):
    hu = np.full((4, 5, 3), -900)
    study = "1.2.840.1.99"
    a = write_series(tmp_path / "a", hu, SeriesInstanceUID="1.2.3.4.5.1", StudyInstanceUID=study)
    b = write_series(tmp_path / "b", hu, SeriesInstanceUID="1.2.3.4.5.2", StudyInstanceUID=study)
    c = write_series(tmp_path / "c", hu, SeriesInstanceUID="1.2.3.4.5.3", StudyInstanceUID="1.9")
    assert uids_of(case("x", a)) == ["1.2.3.4.5.1", study]
    cases = merged(
        [case("x", a, patient="Smith")],
        [case("y", b, cohort="B"), case("z", c, cohort="B", patient="Smith")],
    )
    assert cases[0].patient == cases[1].patient != cases[2].patient


def test_merge_a_series_that_occurs_twice_is_kept_once(merged, tmp_path):
    uid = "1.3.6.1.4.1.14519"
    a, b = ([case(n, tmp_path / f"{n}/{uid}.mhd", cohort=n)] for n in "AB")
    with pytest.warns(UserWarning, match="1 scans occur twice.*B is A"):
        assert [c.case for c in merged(a, b)] == ["A"]
    healthy = [case("B", tmp_path / f"B/{uid}.mhd", cohort="B", role="healthy")]
    with pytest.warns(UserWarning, match="kept once, with labels where one has some"):
        assert [(c.case, c.role) for c in merged(a, healthy)] == [("B", "healthy")]
    with pytest.warns(UserWarning, match="kept once"):
        assert [(c.case, c.role) for c in merged(healthy, a)] == [("B", "healthy")]
    weak = [case("A", tmp_path / f"A/{uid}.mhd", cohort="A", role="weak", bag_label=1)]
    with pytest.raises(UserError, match="A is weak and B is healthy"):
        merged(weak, healthy)


def test_merge_a_patient_in_two_splits_is_an_error(merged, tmp_path):
    hu = np.full((4, 5, 3), -900)
    folders = [
        write_series(tmp_path / n, hu, SeriesInstanceUID=f"1.2.3.4.5.{n}", StudyInstanceUID="1.5")
        for n in "12"
    ]
    a, b = ([case(n, f, split=s)] for n, f, s in zip("ab", folders, ("train", "test"), strict=True))
    with pytest.raises(UserError, match="a is in train and b in test"):
        merged(a, b)
    assert not (tmp_path / "out").exists()


def test_merge_equal_cohorts_with_equal_names_are_an_error(merged, tmp_path):
    with pytest.raises(UserError, match=r"equal names \(A-1\)"):
        merged([case("1", tmp_path / "a.nii")], [case("1", tmp_path / "b.nii")])


def test_merge_into_an_existing_manifest_asks_before_it_replaces(tmp_path):
    a = write_manifest(tmp_path / "a/manifest.csv", [case("1", tmp_path / "a.nii")])
    b = write_manifest(tmp_path / "b/manifest.csv", [case("2", tmp_path / "b.nii")])
    before = a.read_bytes()
    with pytest.raises(UserError, match="--overwrite"):
        merge_manifests([a, b], a)
    assert a.read_bytes() == before
