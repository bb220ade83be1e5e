"""Parts of a report: sentences, label placement, paths and the content-blind ball."""

import math
from itertools import pairwise

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from made_sweep import cases, write_run

from semilung.evaluation import SEGMENTATION, content_blind_ball
from semilung.report.baseline import baseline_score
from semilung.report.formatting import without_folders
from semilung.report.label_placement import place_labels, spread
from semilung.report.plot_style import assign_styles
from semilung.report.read_runs import read_study
from semilung.report.sentences import headline, lead
from semilung.tasks import build_tasks
from semilung.types import UserError

BY_NAME = {metric.name: metric for metric in SEGMENTATION}
DICE = BY_NAME["dice"]
ALARMS = BY_NAME["healthy_fp_mm3"]


def row(arm, mean, difference=math.nan, low=math.nan, high=math.nan, p_holm=math.nan, setting=""):
    """A row of a comparison over 10 cases; the interval of the mean is 0.1 wide."""
    pairs = 0 if math.isnan(difference) else 9
    return {
        "setting": setting, "arm": arm, "n_cases": 9, "n_undefined": 1, "n_seeds": 3,
        "n_pairs": pairs, "other_settings": "", "difference": difference,
        "mean": mean, "low": mean - 0.05, "high": mean + 0.05,
        "difference_low": low, "difference_high": high, "p": p_holm, "p_holm": p_holm,
    }  # fmt: skip


@pytest.fixture
def study(tmp_path):
    return read_study([write_run(tmp_path / "a", cases((0.5, 0.6, 0.7, 0.8)))])


def statement(study, rows, metric=DICE, ball=None):
    (sentence,) = headline(
        study, pd.DataFrame(rows), metric, ball or {}, build_tasks()["segmentation"].baseline
    )
    return sentence.replace("\N{NO-BREAK SPACE}", " ")


def test_headline_interval_with_zero_is_not_significant(study):
    rows = [row("supervised", 0.4), row("mil", 0.45, 0.05, -0.01, 0.1, 0.04)]
    assert "difference from supervised, on the cases that both define, is +0.050" in (
        statement(study, rows)
    )
    assert "includes zero, so no arm is shown to be better" in statement(study, rows)


def test_headline_without_interval_says_too_few_cases(study):
    rows = [row("supervised", 0.4), row("mil", 0.45, 0.05, p_holm=1.0)]
    assert "too few cases for an interval of the difference" in statement(study, rows)


def test_headline_p_that_disagrees_with_the_interval_has_a_but(study):
    rows = [row("supervised", 0.4), row("mil", 0.45, 0.05, 0.01, 0.1, 0.2)]
    assert "excludes zero, but p = 0.200 after Holm's correction" in statement(study, rows)
    rows[1]["p_holm"] = 0.0004
    assert "excludes zero, and p < 0.001 after Holm's correction" in statement(study, rows)


def test_headline_best_reference_has_no_better_arm(study):
    rows = [row("supervised", 0.5), row("mil", 0.45, -0.05, -0.1, -0.01, 0.01)]
    assert "none of 2 arms is better than supervised" in statement(study, rows)


def test_headline_of_false_positives_prefers_the_lowest(study):
    rows = [row("supervised", 9.0), row("mil", 2.0, -7.0, -9.0, -3.0, 0.01)]
    assert "mil is the best of 2 arms" in statement(study, rows, ALARMS)
    assert "excludes zero, and p = 0.010" in statement(study, rows, ALARMS)


@pytest.mark.parametrize(
    ("ball", "text"),
    [(0.44, "It exceeds"), (0.46, "Its interval includes"), (0.5, "It does not exceed")],
)
def test_headline_ball_is_compared_with_the_interval(study, ball, text):
    assert f"{text} the content-blind ball" in statement(
        study, [row("mil", 0.495)], ball={"": ball}
    )


def test_headline_arm_without_values_on_difficult_cases_is_not_best(study):
    rows = [row("supervised", 9.0), row("mil", 6.0, 1.5, 0.5, 2.5, 0.01)]
    rows[0] |= {"n_cases": 10, "n_undefined": 0}
    rows[1] |= {"n_cases": 6, "n_undefined": 4, "n_pairs": 6}
    text = statement(study, rows, BY_NAME["hd95_mm"])
    assert "none of 2 arms is better than supervised" in text
    assert text.startswith("On 10 validation cases")
    rows[1] |= {"difference": -1.5, "difference_low": -2.5, "difference_high": -0.5}
    text = statement(study, rows, BY_NAME["hd95_mm"])
    assert "supervised, on the cases that both define, is \N{MINUS SIGN}1.5" in text


def test_lead_of_several_settings_is_one_sentence():
    rows = [
        row("supervised", 0.4, setting="a=1"), row("mil", 0.5, 0.1, 0.05, 0.2, setting="a=1"),
        row("supervised", 0.4, setting="a=2"), row("mil", 0.5, 0.1, -0.1, 0.2, setting="a=2"),
    ]  # fmt: skip
    assert lead(pd.DataFrame(rows), DICE).startswith("In 1 of 2 settings, the best arm is better")
    assert lead(pd.DataFrame(rows[:2]), DICE) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/m.csv", "…/m.csv"),
        ("init=/home/ann lee/runs/a", "init=…/a"),
        ("C:\\Users\\ann\\m.csv", "…/m.csv"),
        ("~/runs/a", "…/a"),
        ("lost /home/ann/a/b.pt, and /mnt/x/c.pt", "lost …/b.pt, and …/c.pt"),
        ("terms/supervised/labelled", "terms/supervised/labelled"),
        ("mm3/scan and 1/2", "mm3/scan and 1/2"),
        ("runs/a/last.pt", "runs/a/last.pt"),
    ],
)
def test_without_folders_removes_folders_of_absolute_paths_only(text, expected):
    assert without_folders(text) == expected
    assert without_folders({"a": [text, 1.0, None]}) == {"a": [expected, 1.0, None]}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.01, 0.3))
def test_spread_keeps_order_and_distance(values, gap):
    placed = spread(values, gap)
    ordered = [placed[i] for i in sorted(range(len(values)), key=lambda i: values[i])]
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(ordered))
    assert np.mean(placed) == pytest.approx(np.mean(values), abs=1e-6)


def test_place_labels_of_a_crowd_overlap_neither_dots_nor_labels():
    rng = np.random.default_rng(0)
    dots = [(x, y) for x, y in rng.uniform(150, 250, (10, 2))]
    placed = place_labels(dots, [(60.0, 11.0)] * 10, (0, 0, 500, 400))
    boxes = [(x - 30, y - 5.5, x + 30, y + 5.5) for x, y in placed]
    for i, (left, bottom, right, top) in enumerate(boxes):
        assert not any(left < x < right and bottom < y < top for x, y in dots)
        for other in boxes[i + 1 :]:
            apart_x = right <= other[0] or other[2] <= left
            assert apart_x or top <= other[1] or other[3] <= bottom


def test_assign_styles_differ_in_marker_or_dashes():
    names = [f"arm {i}" for i in range(14)]
    styles = assign_styles(names, "arm 0")
    assert len(set(styles.values())) == 14
    by_shape = {(style.marker, str(style.dashes)) for style in styles.values()}
    assert len(by_shape) == 14


def write_cubes(folder, shape=(9, 9, 9)):
    """A manifest of cubes, each with a ball of 2 voxels in radius at its own centre."""
    folder.mkdir()
    lines = ["case,patient,image,role,mask,split"]
    for name, centre, split in (("t1", 3, "train"), ("t2", 5, "train"), ("n1", 4, "val")):
        mask = content_blind_ball(shape, (centre, 4, 4), 2.0, (1, 1, 1))
        nib.save(nib.Nifti1Image(mask, np.diag([-1, -1, 1, 1])), folder / f"{name}.nii.gz")
        lines.append(f"{name},{name},{name}.nii.gz,labelled,{name}.nii.gz,{split}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def ball_of(tmp_path, manifest):
    splits = {
        "t1": {"role": "labelled", "split": "train"},
        "t2": {"role": "unlabelled", "split": "train"},  # beyond the budget, yet it counts
        "n1": {"role": "labelled", "split": "val"},
    }
    table = cases((0.5,), nodules=("n1",))
    run = write_run(tmp_path / "run", table, splits=splits, data={"manifest": str(manifest)})
    (task,) = build_tasks().values()
    return baseline_score(read_study([run]).groups[0], task.baseline, task.score)


def test_ball_dice_is_of_the_ball_fitted_to_training_masks(tmp_path):
    # Training balls (33 voxels) lie one voxel left and right of the middle, so the fitted one is in
    # the middle. It shares 15, 19, 20, 28 and 32 voxels with each where it has 19, 27, 33, 57 and
    # 81; the 27 fit best (38 / 60). They all lie in the evaluated ball's 33: 54 / 60.
    assert ball_of(tmp_path, write_cubes(tmp_path / "cubes")) == 0.9


def test_ball_dice_excludes_empty_masks(tmp_path):
    # t2 alone fits its own ball of 33 voxels, one voxel off the evaluated one, sharing 20
    manifest = write_cubes(tmp_path / "cubes")
    for name, ball in (("t1", 20 / 33), ("t2", None)):
        nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.uint8), np.diag([-1, -1, 1, 1])),
                 manifest.parent / f"{name}.nii.gz")  # fmt: skip
        assert ball_of(tmp_path / name, manifest) == ball


def test_ball_dice_of_absent_or_non_cubic_cases_is_none(tmp_path):
    assert ball_of(tmp_path, write_cubes(tmp_path / "cubes", (9, 9, 10))) is None
    assert ball_of(tmp_path / "b", tmp_path / "none.csv") is None


def test_read_study_options_of_some_arms_are_part_of_their_names(tmp_path):
    runs = [write_run(tmp_path / "s", cases((0.5, 0.6, 0.7, 0.8)))]
    for weight in (1, 10):
        strategies = {"supervised": {}, "mil": {"weight": weight}}
        run = write_run(tmp_path / f"m{weight}", cases((0.5, 0.6, 0.7, 0.8)))
        text = (run / "config.yaml").read_text()
        text = text.replace("strategies:\n  supervised: {}", f"strategies: {strategies}")
        (run / "config.yaml").write_text(text)
        runs.append(run)
    study = read_study(runs)
    assert study.arms == ["supervised", "mil, mil.weight=1", "mil, mil.weight=10"]
    assert [group.label for group in study.groups] == [""]


def test_read_study_setting_absent_in_older_runs_is_no_axis(tmp_path):
    runs = [write_run(tmp_path / name, cases((0.5, 0.6, 0.7, 0.8))) for name in "ab"]
    config = yaml.safe_load((runs[1] / "config.yaml").read_text())
    config.setdefault("inference", {})["precision"] = "32-true"
    (runs[1] / "config.yaml").write_text(yaml.safe_dump(config))
    assert read_study(runs).axes == []
    config["inference"]["precision"] = "bf16-mixed"
    (runs[0] / "config.yaml").write_text(yaml.safe_dump(config))
    assert read_study(runs).axes == ["inference.precision"]


def test_read_study_of_a_run_names_the_arm_after_its_config(tmp_path):
    run = write_run(
        tmp_path / "x", cases((0.5, 0.6, 0.7, 0.8)), strategies=("supervised", "mil", "anomaly"),
        data={"batch": {"healthy": 0}},
    )  # fmt: skip
    study = read_study([run])
    assert not study.sweep
    assert study.arms == ["mil+anomaly, no healthy"]


def test_read_study_uses_test_if_all_runs_were_evaluated_on_it(tmp_path):
    run = write_run(tmp_path / "x", cases((0.5, 0.6, 0.7, 0.8)))
    assert read_study([run]).split == "val"
    (run / "evaluation-val-last").rename(run / "evaluation-test-last")
    assert read_study([run]).split == "test"
    with pytest.raises(UserError, match="not evaluated on the val split"):
        read_study([run], "val")
