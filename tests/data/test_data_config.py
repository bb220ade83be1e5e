from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from semilung.data.data_config import AugmentConfig, DataConfig
from semilung.types import UserError


@pytest.mark.parametrize("kind", [DataConfig, AugmentConfig])
def test_data_config_defaults_survive_a_structured_config(kind):
    assert OmegaConf.to_object(OmegaConf.structured(kind)) == kind()


def test_data_config_lists_become_tuples():
    composed = OmegaConf.structured(DataConfig)
    composed.crop = [8, 8, 8]
    composed.spacing_mm = None
    composed.batch.labelled = 1
    config = OmegaConf.to_object(composed)
    assert (config.crop, config.spacing_mm, config.batch["labelled"]) == ((8, 8, 8), None, 1)


@pytest.mark.parametrize(
    "option",
    [
        {"rest": "keep"},
        {"labelled": 0},
        {"healthy": 0},
        {"folds": 1},
        {"folds": 5, "fold": 5},
        {"fold": 1},
        {"val_fraction": 1.0},
        {"val_fraction": 0.5, "test_fraction": 0.5},
        {"spacing_mm": (1.0, 0.0, 1.0)},
        {"spacing_mm": (1.0, 1.0)},
        {"clip_hu": (2000.0, -1024.0)},
        {"clip_hu": (-40000.0, 0.0)},
        {"window_hu": (-2000.0, 400.0)},
        {"crop": (0, 8, 8)},
        {"foreground": 1.5},
        {"overhang": 0.6},
        {"workers": -1},
        {"lung_margin_mm": -1.0},
        {"batch": {"labeled": 1}},
        {"batch": {"labelled": -1}},
    ],
)
def test_data_config_value_out_of_range_is_named(option):
    with pytest.raises(UserError, match=next(iter(option))):
        DataConfig(**option)


@pytest.mark.parametrize(
    "option",
    [
        {"affine_probability": 2.0},
        {"scale": (1.2, 0.8)},
        {"strong_gamma": (0.0, 1.0)},
        {"weak_noise_hu": -1.0},
        {"cutout_share": 1.0},
        {"rotation_degrees": 90.0},
        {"cutout_holes": -1},
    ],
)
def test_augment_config_value_out_of_range_is_named(option):
    with pytest.raises(UserError, match=next(iter(option))):
        AugmentConfig(**option)
