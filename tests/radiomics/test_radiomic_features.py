"""Radiomic features against hand-computed and consensus values, and where they are undefined."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from ibsi_values import ENDINGS, compare_with_consensus

from semilung.data import Volume, read_volume
from semilung.radiomics import RadiomicsSettings, radiomic_features
from semilung.radiomics.radiomic_features import nodule_box
from semilung.types import UserError

pytest.importorskip("mirp")

LEVELS = {"spacing_mm": None, "range_hu": (1, 6), "bin_width_hu": 1}
"""Settings for images whose values are grey levels, on which nothing is resampled."""

CT_PHANTOM = {
    "a": {"spacing_mm": None, "range_hu": (-500, 400)},
    "b": {"spacing_mm": 2.0, "range_hu": (-500, 400), "bins": 32},
    "c": {"spacing_mm": 2.0},
    "d": {"spacing_mm": 2.0, "range_hu": None, "outlier_sigma": 3, "bins": 32},
    "e": {"spacing_mm": 2.0, "interpolation": "cubic", "outlier_sigma": 3, "bins": 32},
}
"""IBSI's configurations of processing, which have 2D aggregations in a and b, and 3D in c to e."""

DIFFERING: dict[tuple[str, str], set[str]] = {}
"""Features that differ from the consensus, by configuration and aggregation: none."""

CASES = [
    (config, aggregation)
    for config in CT_PHANTOM
    for aggregation in ENDINGS
    if aggregation.startswith("2") == (config in "ab")
]
QUICK = ("3d_volume_merge", "2d_average")
"""Aggregations of the digital phantom that are tested quickly."""


def digital_phantom():
    """Return image and mask of IBSI's digital phantom, 5 x 4 x 4 voxels of 2 mm."""
    slices = [
        "14411 14611 41641 44641",
        "14411 11611 *1311 44611",
        "144** 11111 11*11 11611",
        "144** 11111 11111 11611",
    ]
    rows = [[list(row) for row in text.replace("*", "9").split()] for text in slices]
    levels = np.array(rows, int).transpose(2, 1, 0)
    grid = np.diag([2.0, 2.0, 2.0, 1.0])
    return Volume(levels, grid), Volume(levels != 9, grid)


def block(shape, *, at=(5, 5, 5)):
    """Return a mask of a box in 20 x 20 x 16 voxels."""
    mask = np.zeros((20, 20, 16), np.uint8)
    mask[tuple(slice(a, a + n) for a, n in zip(at, shape, strict=True))] = 1
    return mask


NOISE = np.random.default_rng(0).normal(-200, 100, (20, 20, 16))


def undefined(image, mask, spacing_mm=1.0, **settings):
    """Return the names of undefined features, and the warnings."""
    grid = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        values = radiomic_features(
            Volume(image, grid), Volume(mask, grid), RadiomicsSettings(**settings)
        )
    assert len(values) == 159
    return {name for name, value in values.items() if np.isnan(value)}, issued


def test_radiomic_features_of_the_digital_phantom_have_values_computed_by_hand():
    image, mask = digital_phantom()
    values = radiomic_features(image, mask, RadiomicsSettings(**LEVELS))
    levels = image.data[mask.data]
    hand = {
        "morph_vol_approx": 74 * 2**3,
        "stat_mean": (50 * 1 + 3 + 16 * 4 + 7 * 6) / 74,
        "stat_energy": (levels**2).sum(),
        "ih_uniformity": (50**2 + 1 + 16**2 + 7**2) / 74**2,
        "szm_lze": (50**2 + 1**2 + 14**2 + 2**2 + 7**2) / 5,  # zones of levels 1, 3, 4, 4 and 6
        "szm_z_perc": 5 / 74,
        "dzm_lde": 1.0,  # every zone touches the outline
    }
    for name, value in hand.items():
        assert values[name] == pytest.approx(value), name
    consensus = {"morph_volume": 556, "cm_joint_max": 0.509, "rlm_r_perc": 0.68}
    consensus |= {"ngt_coarseness": 0.0296, "ngl_dc_energy": 0.0533}
    for name, value in consensus.items():
        assert float(f"{values[name]:.2e}") == value, name


@pytest.mark.parametrize(
    "aggregation",
    [pytest.param(a, marks=() if a in QUICK else pytest.mark.slow) for a in ENDINGS],
)
def test_radiomic_features_of_the_digital_phantom_agree_with_the_consensus(real_data, aggregation):
    folder = real_data / "ibsi" / "digital_phantom"
    image, mask = (read_volume(folder / f"{name}.nii.gz") for name in ("image", "mask"))
    values = radiomic_features(image, mask, RadiomicsSettings(**LEVELS, aggregation=aggregation))
    table = real_data / "ibsi" / "ibsi_1_dig_phantom.csv"
    compared, differing = compare_with_consensus(values, table, aggregation)
    assert compared == set(values)
    assert differing == DIFFERING.get(("digital", aggregation), set())


@pytest.mark.parametrize(
    ("config", "aggregation"),
    [
        pytest.param(*c, marks=() if c == ("c", "3d_volume_merge") else pytest.mark.slow)
        for c in CASES
    ],
)
def test_radiomic_features_of_the_ct_phantom_agree_with_the_consensus(
    real_data, config, aggregation
):
    folder = real_data / "ibsi" / "ct_phantom"
    image, mask = (read_volume(folder / f"{name}.nii.gz") for name in ("image", "mask"))
    settings = RadiomicsSettings(**CT_PHANTOM[config], aggregation=aggregation)
    values = radiomic_features(image, mask, settings)
    table = real_data / "ibsi" / f"ibsi_1_chest_config_{config}.csv"
    compared, differing = compare_with_consensus(values, table, aggregation)
    assert compared == set(values)
    assert differing == DIFFERING.get((config, aggregation), set())


@pytest.mark.parametrize(
    ("mask", "image", "names"),
    [
        (block((1, 1, 1)), NOISE, {"morph_pca_flatness", "cm_corr", "ngt_strength"}),
        (block((7, 7, 1)), NOISE, {"morph_vol_dens_aee"}),
        (block((6, 6, 4)), np.full(NOISE.shape, 30.0), {"cm_inv_var"}),
        (block((6, 6, 4)), np.full(NOISE.shape, 900.0), {"stat_mean", "ih_mode", "szm_sze"}),
        (block((0, 0, 0)), NOISE, {"morph_volume", "stat_mean"}),
    ],
    ids=["one voxel", "one slice", "constant", "out of range", "empty"],
)
def test_radiomic_features_that_are_undefined_are_nan_with_one_warning(mask, image, names):
    missing, issued = undefined(image, mask)
    assert names <= missing
    assert len(issued) == 1
    assert f"{len(missing)} of 159 radiomic features are undefined" in str(issued[0].message)


def test_radiomic_features_of_an_ordinary_nodule_are_all_defined_without_warning():
    assert undefined(NOISE, block((6, 6, 4))) == (set(), [])


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.7, 2.5)])
def test_radiomic_features_of_a_mask_at_the_edge_of_its_crop_keep_its_volume(spacing_mm):
    whole, grid = block((8, 8, 4)), np.diag([*spacing_mm, 1.0])
    crop = tuple(slice(5, 5 + n) for n in (8, 8, 4))
    inside, tight = (
        radiomic_features(Volume(data, grid), Volume(mask, grid))
        for data, mask in ((NOISE, whole), (NOISE[crop], whole[crop]))
    )
    volume_mm3 = 8 * 8 * 4 * np.prod(spacing_mm)
    assert tight["morph_vol_approx"] == pytest.approx(volume_mm3, rel=0.15)
    assert tight["morph_vol_approx"] == pytest.approx(inside["morph_vol_approx"], rel=0.15)


def test_nodule_box_grid_shift_makes_the_grid_that_of_the_whole_volume():
    grid = np.diag([0.8, 0.8, 1.6, 1.0])
    volume = Volume(np.zeros((101, 90, 70)), grid)
    mask = np.zeros(volume.shape, np.uint8)
    mask[40:47, 5:20, 60:64] = 1
    box = nodule_box(volume, Volume(mask, grid))
    shift = box.grid_shift(1.0)
    for axis, (n, size_mm) in enumerate(zip(volume.shape, (0.8, 0.8, 1.6), strict=True)):
        centre_mm, count = (n - 1) / 2 * size_mm, np.ceil(n * size_mm)
        of_volume = centre_mm - (count - 1) / 2
        m = box.image.shape[axis]
        of_box = (box.start[axis] + (m - 1) / 2) * size_mm - (np.ceil(m * size_mm) - 1) / 2
        distance_mm = (of_box + shift[axis] - of_volume) % 1
        assert min(distance_mm, 1 - distance_mm) == pytest.approx(0, abs=1e-9)


def test_radiomic_features_do_not_depend_on_the_order_of_axes():
    grid = np.diag([0.8, 0.8, 1.6, 1.0])
    mask = block((6, 7, 4))
    turned = grid @ np.array([[-1, 0, 0, 19], [0, -1, 0, 19], [0, 0, 1, 0], [0, 0, 0, 1]])
    ras, lps = (
        radiomic_features(Volume(data, affine), Volume(label, affine))
        for data, label, affine in (
            (NOISE, mask, grid),
            (NOISE[::-1, ::-1], mask[::-1, ::-1], turned),
        )
    )
    assert ras == pytest.approx(lps)


def test_radiomic_features_of_another_grid_are_refused():
    with pytest.raises(UserError, match="are not on one grid"):
        radiomic_features(Volume(NOISE, np.eye(4)), Volume(block((2, 2, 2)), np.eye(4) * 2))


def test_import_of_semilung_brings_neither_mirp_nor_torch():
    code = "import sys, semilung.radiomics; print({'mirp', 'torch', 'itk'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"
