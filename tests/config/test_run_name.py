"""Names of runs: what shapes the result is in them, and none leaves `runs_dir`."""

from pathlib import Path

import pytest

from semilung.config.run_name import run_folder, run_name
from semilung.config.schema import CommandConfig
from semilung.runs import TrainConfig
from semilung.types import UserError


@pytest.mark.parametrize("name", ["a", "a/b", "a b", "x" * 200, "..a"])
def test_run_folder_is_below_runs_dir(tmp_path, name):
    assert run_folder(CommandConfig(runs_dir=str(tmp_path)), name) == tmp_path / name


@pytest.mark.parametrize("name", ["", ".", "..", "a/../../b", "/a", "a\nb", "a\x1b", "x" * 201])
def test_run_folder_of_a_name_that_is_no_folder_below_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="names no folder in runs_dir"):
        run_folder(CommandConfig(runs_dir=str(tmp_path)), name)


def test_run_name_differs_by_what_shapes_the_result_alone():
    config, same, other = TrainConfig(), TrainConfig(), TrainConfig()
    same.data.workers += 1
    other.optim.lr *= 2
    assert run_name(config) == run_name(same) != run_name(other)
    assert Path(run_name(config)).name == run_name(config)
