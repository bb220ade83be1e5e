"""One label of several components is that many nodules, for check, cache, batch and evaluation."""

import numpy as np
import pytest
from torch import nn

from semilung.data.cache.prepare import prepare
from semilung.data.content.nodule_instances import instance_centres, nodule_instances
from semilung.data.data_config import AugmentConfig, DataConfig
from semilung.data.io.volume import Volume, write_volume
from semilung.data.loading.loader import StepDataset
from semilung.data.manifest.cases import Case
from semilung.data.manifest.mask_checks import mask_content, mask_issues
from semilung.data.manifest.nodule_checks import nodule_issues
from semilung.data.manifest.nodules import Nodule
from semilung.inference import InferenceConfig, Predictor
from semilung.tasks import build_tasks, evaluate_cases
from semilung.types import UserError

CENTRES = ((7, 8, 9), (17, 15, 16))
INDICES = np.moveaxis(np.indices((24, 24, 24)), 0, -1)


def mask_of(labels, centres=CENTRES, radii=(4, 3)):
    mask = np.zeros((24, 24, 24), np.uint8)
    for label, centre, radius in zip(labels, centres, radii, strict=True):
        mask[np.linalg.norm(INDICES - centre, axis=-1) <= radius] = label
    mask[0, 0, 0] = 255
    return mask


@pytest.mark.parametrize("label", [1, 7, 254])
def test_nodule_instances_of_one_label_are_its_components_from_the_largest(label):
    instances = nodule_instances(mask_of((label, label), centres=CENTRES[::-1], radii=(3, 4)))
    np.testing.assert_array_equal(instances, mask_of((1, 2)))


@pytest.mark.parametrize("labels", [(1, 2), (254, 3)])
def test_nodule_instances_of_several_labels_are_the_labels(labels):
    mask = mask_of(labels)
    mask[21, 21, 21] = labels[0]  # a second component
    assert nodule_instances(mask) is mask


def test_nodule_instances_of_a_single_or_no_component_is_the_mask():
    for mask in (mask_of((9,), CENTRES[:1], (4,)), mask_of((), (), ())):
        assert nodule_instances(mask) is mask
    diagonal = np.zeros((3, 3, 3), np.uint8)
    diagonal[0, 0, 0] = diagonal[1, 1, 1] = 5
    assert nodule_instances(diagonal) is diagonal


def test_nodule_instances_of_more_components_than_labels_keep_the_largest_apart():
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[::2, ::2, ::2] = 1
    mask[19, 19, 19] = 1  # joins its neighbour
    instances = nodule_instances(mask)
    np.testing.assert_array_equal(instances > 0, mask > 0)
    assert np.bincount(instances.ravel())[1:255].tolist() == [2, *[1] * 252, 1000 - 253]


@pytest.fixture(params=[(1, 1), (1, 2)], ids=["one label", "two labels"])
def case(tmp_path, request):
    mask = mask_of(request.param)
    hu = np.where(
        (mask > 0) & (mask < 255), 20, np.random.default_rng(0).normal(-850, 30, mask.shape)
    )
    write_volume(tmp_path / "i.nii", hu.astype(np.int16), np.eye(4))
    write_volume(tmp_path / "m.nii", mask, np.eye(4))
    return Case("a", "p", tmp_path / "i.nii", "labelled", mask=tmp_path / "m.nii")


class Bright(nn.Module):
    def forward(self, x):
        return {"logits": 50 * (x - 0.5)}


def test_nodules_of_a_mask_are_the_same_for_check_cache_batch_and_evaluation(case, tmp_path):
    config = DataConfig(cache=str(tmp_path / "c"), spacing_mm=None, workers=0)
    config.crop, config.batch = (24, 24, 24), {"labelled": 1}
    image, mask = (Volume(v, np.eye(4)) for v in (np.zeros((24, 24, 24)), mask_of((1, 1))))
    rows = [Nodule(str(n), tuple(map(float, c))) for n, c in enumerate(CENTRES)]
    assert list(nodule_issues(rows, image, mask)) == []
    checked = mask_content(Volume(mask.data, np.eye(4))).diameters_mm
    assert [round(mm) for mm in checked] == [8, 6]
    (item,) = prepare([case], config, progress=False, processes=0)
    assert [n.diameter_mm for n in item.nodules] == pytest.approx(checked)
    np.testing.assert_allclose([n.voxel for n in item.nodules], CENTRES)
    augment = AugmentConfig(affine_probability=0.0, flips=False, quarter_turns=False)
    config.overhang = 0.0
    steps = StepDataset({"labelled": [item]}, config, augment, seed=0, fields=("instances",))
    instances = steps[0]["labelled"]["instances"][0, 0]
    assert [int(instances[centre]) for centre in CENTRES] == [1, 2]
    predictor = Predictor([Bright()], InferenceConfig(window=(8, 8, 8)), DataConfig())
    lesions = evaluate_cases(predictor, [item], build_tasks()).lesions
    assert lesions["diameter_mm"].tolist() == pytest.approx(checked)
    assert lesions["detected"].all()


def test_prepare_keeps_a_small_component_that_resampling_would_lose(tmp_path):
    mask = mask_of((1, 1), radii=(6, 0))
    write_volume(tmp_path / "i.nii", np.where(mask == 1, 20, -850 + INDICES[..., 0]), np.eye(4))
    write_volume(tmp_path / "m.nii", mask, np.eye(4))
    case = Case("a", "p", tmp_path / "i.nii", "labelled", mask=tmp_path / "m.nii")
    config = DataConfig(cache=str(tmp_path / "c"), spacing_mm=(3.0, 3.0, 3.0))
    (item,) = prepare([case], config, progress=False, processes=0)
    assert len(item.nodules) == 2


def test_prepare_components_of_one_label_may_merge_but_labels_may_not(tmp_path):
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[9, 9, 9] = mask[9, 9, 11] = mask[12, 12, 12] = 1
    write_volume(
        tmp_path / "i.nii", np.where(mask == 1, 20, -850 + np.indices(mask.shape)[0]), np.eye(4)
    )
    config = DataConfig(cache=str(tmp_path / "c"), spacing_mm=(20.0, 20.0, 20.0))
    write_volume(tmp_path / "one.nii", mask, np.eye(4))
    mask[9, 9, 11] = 2
    write_volume(tmp_path / "two.nii", mask, np.eye(4))
    case = Case("a", "p", tmp_path / "i.nii", "labelled", mask=tmp_path / "one.nii")
    (item,) = prepare([case], config, progress=False, processes=0)
    assert len(item.nodules) == 1
    with pytest.raises(UserError, match=r"vanish at .*choose a finer spacing_mm"):
        prepare([Case(**{**vars(case), "mask": tmp_path / "two.nii"})], config, progress=False)


def test_mask_issues_of_specks_of_one_label_is_a_warning():
    mask = mask_of((1, 1))
    case = Case("a", "p", "i.nii", "labelled", mask="m.nii")
    assert list(mask_issues(mask_content(Volume(mask, np.eye(4))), case)) == []
    mask[20, 3, 3] = 1
    [issue] = mask_issues(mask_content(Volume(mask, np.eye(4))), case)
    assert issue.severity == "warning"
    assert "each of its 3 components is a nodule, but 1 have fewer than 4 voxels" in issue.message
    mask[CENTRES[1]] = 2
    assert list(mask_issues(mask_content(Volume(mask, np.eye(4))), case)) == []


def test_instance_centres_with_gaps_in_the_labels_leave_out_ignored_voxels():
    mask = np.zeros((9, 9, 9), np.uint8)
    mask[1:4, 1:4, 1:4], mask[6, 7, 8], mask[0, 0, 8] = 7, 2, 255
    assert instance_centres(mask) == {2: (6.0, 7.0, 8.0), 7: (2.0, 2.0, 2.0)}
