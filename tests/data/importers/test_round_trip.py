"""Every format from a user's files to predictions: geometry to 0.01 mm, masks to the voxel."""

import gzip
import json

import numpy as np
import pytest
import SimpleITK
from commands import run, train
from dicom_masks import sources, write_rtstruct
from dicom_masks import write_seg as write_dicom_seg
from hospital_tree import chest, write_ct
from lidc_files import on_slice, square, xml_text
from slicer_files import write_seg

from semilung.data import read_manifest, read_volume, write_volume
from semilung.data.importers import import_cohort, importers
from semilung.data.importers.lidc.reader_xml import Reading
from semilung.data.manifest.check_manifest import check_manifest
from semilung.data.manifest.merge import merge_manifests

SHAPE, UID = (24, 20, 16), "1.2.3"
HU = chest(0, SHAPE).astype(np.int16)
HU[12:17, 10:15, 6:9] = 40
MASK = np.zeros(SHAPE, np.uint8)
MASK[12:17, 10:15, 6:9] = 1
AFFINE = np.diag([-0.7, -0.8, 2.5, 1.0])
AFFINE[:3, 3] = (100, -50, 20)


def nifti(path, data):
    write_volume(path, data, AFFINE)


def metaimage(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(data.T)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-100, 50, 20))
    SimpleITK.WriteImage(image, str(path))


def folder(root):
    nifti(root / "labelled/a_ct.nii.gz", HU)
    write_seg(root / "labelled/a.seg.nrrd", [MASK], [("Nodule", 0, 1)], encode=gzip.compress,
              origin=(-100, 50, 20))  # fmt: skip


def csv(root):
    metaimage(root / "scan.mha", HU)
    nifti(root / "seg.nii.gz", MASK)
    (root / "t.csv").write_text("CT,Seg\nscan.mha,seg.nii.gz\n")
    return root / "t.csv", {"columns": {"image": "CT", "mask": "Seg"}}


def luna16(root):
    metaimage(root / "subset0/1.2.840.1.1.mhd", HU)
    header = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
    x, y, z = (AFFINE @ [14, 12, 7, 1])[:3]
    (root / "annotations.csv").write_text(f"{header}1.2.840.1.1,{-x},{-y},{z},5\n")
    (root / "annotations_excluded.csv").write_text(header)


def msd(root):
    nifti(root / "imagesTr/b.nii.gz", HU)
    nifti(root / "labelsTr/b.nii.gz", MASK)
    pair = {"image": "./imagesTr/b.nii.gz", "label": "./labelsTr/b.nii.gz"}
    labels = {"0": "background", "1": "cancer"}
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "training": [pair]}))


def nnunet(root):
    nifti(root / "imagesTr/c_0000.nii.gz", HU)
    nifti(root / "labelsTr/c.nii.gz", MASK)
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "nodule": 1}}))


def lidc(root):
    write_ct(root / "ct_lidc", uid=UID, study="1.2.7", hu=HU, PatientID="LIDC-IDRI-0007")
    outlines = tuple(on_slice(k, square((11, 9), (17, 15))) for k in (6, 7, 8))
    readings = [Reading(reader, "nodule", outlines) for reader in (1, 2)]
    (root / "1.xml").write_text(xml_text(readings, uid=UID))


def dicom(root):
    write_ct(root / "x/study", uid="1.2.4", study="1.2.8", number=3, hu=HU, PatientID="1")
    write_ct(root / "x/study", uid="1.2.4.9", study="1.2.8", number=4, hu=HU, kernel="BONE",
             PatientID="1")  # fmt: skip


def dicom_seg(root):
    write_ct(root / "ct_seg", uid="1.2.5", study="1.2.9", hu=HU, PatientID="2")
    write_dicom_seg(root / "seg.dcm", sources(root / "ct_seg", "1.2.5"), [MASK > 0], ["Nodule"])


def rtstruct(root):
    write_ct(root / "ct_rt", uid="1.2.6", study="1.2.10", hu=HU, PatientID="3")
    contours = [(k, square((12, 10), (16, 14))) for k in (6, 7, 8)]
    write_rtstruct(root / "rs.dcm", sources(root / "ct_rt", "1.2.6"), [("Nodule", contours)])


FORMATS = {
    f.__name__: f for f in (folder, csv, luna16, msd, nnunet, lidc, dicom, dicom_seg, rtstruct)
}


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    """The manifest of each format, of one scan with one nodule."""
    root, made = tmp_path_factory.mktemp("formats"), {}
    for name, make in FORMATS.items():
        (root / name).mkdir()
        source, options = make(root / name) or (root / name, {})
        made[name], _ = import_cohort(name, source, root / f"out_{name}", options=options)
    return made


def off_mm(affine):
    ends = np.array(np.meshgrid(*((0, n - 1) for n in SHAPE), [1])).reshape(4, -1)
    return np.linalg.norm((affine - AFFINE) @ ends, axis=0).max()


def test_round_trip_covers_every_format():
    assert set(FORMATS) == set(importers)


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip_imported_scan_and_mask_are_those_of_the_source(manifests, name):
    (case,) = read_manifest(manifests[name])
    image = read_volume(case.image)
    np.testing.assert_array_equal(image.data, HU)
    assert off_mm(image.affine) < 0.01
    assert [issue for issue in check_manifest(manifests[name]) if issue.field != "image"] == []
    if case.mask is not None:
        mask = read_volume(case.mask)
        np.testing.assert_array_equal(mask.data, MASK)
        assert off_mm(mask.affine) < 0.01
    assert (case.mask is None) == (name in ("luna16", "dicom"))


def require_predictions_in_the_geometry_of_the_source(trained_run, cases, out):
    scans = [case.image for case in cases]
    assert run("predict", *scans, "--run", trained_run, "--out", out) == 0
    written = sorted(out.glob("*_nodules.nii.gz"))
    assert len(written) == len(cases)
    for path in written:
        volume = read_volume(path)
        assert volume.shape == SHAPE
        assert off_mm(volume.affine) < 0.01


def test_round_trip_predictions_of_images_of_each_kind_are_in_their_geometry(
    manifests, trained, tmp_path
):
    cases = [read_manifest(manifests[name])[0] for name in ("folder", "csv", "dicom", "rtstruct")]
    require_predictions_in_the_geometry_of_the_source(trained, cases, tmp_path / "out")


@pytest.mark.slow
def test_round_trip_merged_formats_train_and_predict(manifests, tmp_path):
    manifest = merge_manifests(list(manifests.values()), tmp_path / "all/manifest.csv")
    cases = read_manifest(manifest)
    assert len({case.patient for case in cases}) == len(FORMATS)
    settings = ("data.crop_to_lungs=false", "data.spacing_mm=null", f"runs_dir={tmp_path}",
                "data.crop=[8,8,8]", "strategy=supervised", "run_name=tiny")  # fmt: skip
    assert train(manifest, *settings) == 0
    require_predictions_in_the_geometry_of_the_source(tmp_path / "tiny", cases, tmp_path / "out")
