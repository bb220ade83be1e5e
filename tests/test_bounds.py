"""One table of bounds: every number of every setting, from every way in."""

from dataclasses import fields, is_dataclass
from typing import get_type_hints

import numpy as np
import pytest

from semilung.bounds import BOUNDS
from semilung.cli import main
from semilung.config.schema import CommandConfig, data_config
from semilung.data import DataConfig
from semilung.inference.windows import window_starts
from semilung.runs import with_settings
from semilung.training import TrainConfig
from semilung.types import UserError


def numeric(kind, prefix=""):
    """Every dotted setting whose type holds numbers."""
    for field in fields(kind):
        hint = get_type_hints(kind)[field.name]
        if is_dataclass(hint):
            yield from numeric(hint, f"{prefix}{field.name}.")
        elif "int" in str(hint) or "float" in str(hint):
            yield prefix + field.name


def test_table_has_every_numeric_setting():
    assert set(numeric(CommandConfig)) <= set(BOUNDS)


@pytest.mark.parametrize("name", sorted(set(numeric(CommandConfig))))
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 2**64, -(2**64)])
def test_infinite_and_absurd_values_are_refused_by_name(name, number):
    config, (*group, leaf) = TrainConfig(), name.split(".")
    owner = getattr(config, group[0]) if group else config
    default = getattr(owner, leaf)
    value = (number,) * len(default) if isinstance(default, tuple) else number
    value = {"labelled": number} if isinstance(default, dict) else value
    with pytest.raises(UserError, match=rf"{name}.* is out of range: it must be"):
        type(owner)(**{leaf: value})


@pytest.mark.parametrize(
    "word",
    [
        *("data.spacing_mm=[1e8,1,1]", "augment.cutout_holes=1000000000"),
        *("trainer.devices=1000000", "strategies.supervised.ce_weight=inf"),
        *("seed=18446744073709551616", "inference.min_volume_mm3=nan", "optim.lr=inf"),
        *("model.depth=10000000", "model.widths=[100000000]"),
        *("model.prior=nan", "data.crop=[100000,1,1]", "inference.overlap=0.9999"),
    ],
)  # fmt: skip
def test_train_refuses_absurd_values_and_leaves_nothing(word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["train", "data.manifest=none.csv", word])
    assert stop.value.code == 2
    assert f"{word.partition('=')[0]}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_settings_of_other_commands_meet_the_same_table():
    with pytest.raises(UserError, match=r"data\.spacing_mm"):
        data_config(["spacing_mm=[1e8,1,1]"])
    with pytest.raises(UserError, match=r"inference\.min_volume_mm3"):
        with_settings(TrainConfig(), ["inference.min_volume_mm3=.nan"])


def test_windows_without_number_are_refused():
    with pytest.raises(UserError, match=r"window=\[1, 1, 1\].* covers 512 x 512 x 512 voxels"):
        window_starts((512, 512, 512), (1, 1, 1), 0.0)
    assert len(window_starts((512, 512, 512), (64, 64, 64), 0.5)) == 15**3


def test_window_of_the_lung_widens_what_is_stored():
    config = DataConfig(window_hu=(-1350.0, 150.0))
    assert (config.clip_hu, config.window_hu) == ((-1350.0, 2000.0), (-1350.0, 150.0))
    assert DataConfig().clip_hu == (-1024.0, 2000.0)
    assert np.float64(DataConfig(**vars(config)).clip_hu[0]) == -1350.0
