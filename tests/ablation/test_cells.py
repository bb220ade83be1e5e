"""What a command line asks for: arms, axes, which settings concern which arm."""

import pytest

from semilung.ablation.cells import arm_name, cells_of
from semilung.ablation.sweep_request import read_request
from semilung.types import UserError


def cells(*words, healthy=True):
    return cells_of(read_request(words), healthy=healthy)


def arms(*words, **options):
    return [cell.arm for cell in cells(*words, **options)]


def test_every_combination_comes_once_and_the_three_arms_stand_side_by_side():
    found = cells("strategy=mean_teacher,[mean_teacher,mil]", "seed=0,1", "data.labelled=8,16")
    expected = ["supervised, no healthy", "supervised", "mean_teacher", "mean_teacher+mil"]
    assert [cell.arm for cell in found[:4]] == expected
    keys = [(cell.arm, cell.seed, cell.axes["data.labelled"]) for cell in found]
    assert len(keys) == len(set(keys)) == len({cell.name for cell in found}) == 4 * 2 * 2
    assert "data.batch.healthy=0" in found[0].overrides
    assert not any("healthy" in word for cell in found[1:4] for word in cell.overrides)
    assert {"strategy=[mean_teacher,mil]", "seed=1", "data.labelled=16"} <= set(found[-1].overrides)


def test_baselines_are_added_once_where_they_mean_something():
    assert arms("strategy=mil", healthy=False) == ["supervised", "mil"]
    assert arms("strategy=mil", "baselines=false") == ["mil"]
    assert arms("strategy=supervised,mil").count("supervised") == 1


def test_a_strategys_settings_concern_the_arms_that_hold_it():
    words = ["strategy=mil,anomaly,[mil,anomaly]", "strategies.mil.k=1,2", "baselines=false"]
    words += ["strategies.anomaly.weight=0.5", "strategies.supervised.ce_weight=2"]
    weights = {}
    for cell in cells(*words):
        weights.setdefault(cell.arm, []).append(
            sorted(word for word in cell.overrides if word.startswith("strategies."))
        )
    ce, weight = "strategies.supervised.ce_weight=2", "strategies.anomaly.weight=0.5"
    assert weights == {
        "mil": [["strategies.mil.k=1", ce], ["strategies.mil.k=2", ce]],
        "anomaly": [[weight, ce]],  # once, not for each k
        "mil+anomaly": [[weight, "strategies.mil.k=1", ce], [weight, "strategies.mil.k=2", ce]],
    }


def test_the_healthy_share_as_an_axis_leaves_one_run_without():
    found = cells("strategy=supervised", "data.batch.healthy=1,2")
    without = [cell for cell in found if cell.arm == "supervised, no healthy"]
    assert len(without) == 1
    assert [w for w in without[0].overrides if "healthy" in w] == ["data.batch.healthy=0"]
    assert without[0].axes == {"data.batch.healthy": "0"}


def test_supervised_without_the_healthy_stream_has_one_name():
    words = ["strategy=supervised,mil", "data.batch.healthy=0,1"]
    named = ["supervised, no healthy", "mil", "supervised", "mil"]
    assert arms(*words, "baselines=false") == named
    assert sorted(arms(*words)) == sorted(named)  # the added one is the same run
    for baselines in ("true", "false"):
        words = ["strategy=supervised", "data.batch.healthy=0", f"baselines={baselines}"]
        assert arms(*words) == ["supervised, no healthy"]


def test_seeds_share_their_splits_unless_a_setting_changes_it():
    assert "data.split_seed=0" in cells("strategy=mil")[0].overrides
    assert "data.split_seed=3" in cells("strategy=mil", "data.split_seed=3")[0].overrides


def test_a_name_is_a_folders_and_differs_between_settings():
    one, other = (
        cells("strategy=mil", f"data.manifest='a b/{name}.csv'", "baselines=false")[0]
        for name in ("x", "y")
    )
    assert one.name != other.name
    assert set(one.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.+-")
    assert arm_name("[supervised, mil ,anomaly]") == "mil+anomaly"


def test_the_same_command_finds_the_same_folder():
    words = ["strategy=mil,supervised", "optim.lr=1e-3"]
    folder = read_request([*words, "seed=0"]).folder
    assert folder == read_request([*words, "seed=0,1,2"]).folder
    assert folder != read_request(["strategy=mil,supervised", "optim.lr=1e-4"]).folder
    assert str(read_request([*words, "sweep_dir=here/x"]).folder) == "here/x"
    swept = ["data.labelled=8,16", "model.depth=1,2"]
    assert read_request([*words, *swept]).folder == read_request([*words, *swept[::-1]]).folder


def test_the_order_of_swept_settings_names_no_other_run():
    words = ["strategy=mil", "baselines=false", "data.labelled=8,16", "model.depth=1,2"]
    names = {cell.name for cell in cells(*words)}
    assert names == {cell.name for cell in cells(*words[::-1])}
    begun = read_request(words).axes
    fewer = read_request(["strategy=mil", "baselines=false", "model.depth=1,2", "data.labelled=8"])
    joined = cells_of(fewer.along(begun), healthy=True)
    assert {cell.name for cell in joined} < names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=0,1"], "strategy=supervised,mean_teacher"),
        (["strategy=mil", "split=train"], "val, test"),
        (["strategy=mil", "equal=money"], "steps, compute"),
        (["strategy=mil", "split=val,test"], "one split, no list"),
        (["strategy=[mil"], "cannot read"),
        (["mil"], "cannot read"),
        (["strategy=mil", "optim.lr=range(1,x)"], "cannot read"),
    ],
)
def test_invalid_words_raise_user_error(words, message):
    with pytest.raises(UserError, match=message):
        read_request(words)
