"""Caveats on confounded arms, which get no p-value, on silent arms and on absent cases."""

import html
import re

import pandas as pd
import pytest
from made_sweep import HEALTHY, NODULES, cases, write_run, write_sweep

from semilung.evaluation import SEGMENTATION
from semilung.report import read_study, write_html
from semilung.report.caveats import list_caveats

BASE = (0.2, 0.3, 0.4, 0.5, 0.3, 0.4, 0.2, 0.3, 0.5, 0.4, 0.3, 0.2)
MANY = tuple(f"n{i}" for i in range(1, len(BASE) + 1))
SPLITS = {
    **{f"t{i}": {"role": "labelled", "split": "train"} for i in range(8)},
    **{f"g{i}": {"role": "healthy", "split": "train"} for i in range(3)},
    **{name: {"role": "labelled", "split": "val"} for name in MANY},
    **{name: {"role": "healthy", "split": "val"} for name in HEALTHY},
}


def pair(tmp_path, settings=None, *, gain=0.3, splits=SPLITS, strategies=("supervised", "mil")):
    """Supervised, and an arm with other settings that is ahead in each of 12 cases."""
    table = cases(BASE, nodules=MANY)
    better = cases([value + gain for value in BASE], nodules=MANY)
    a = write_run(tmp_path / "a", table, splits=SPLITS, model={"widths": [4, 8]})
    b = write_run(
        tmp_path / "b", better, splits=splits, strategies=strategies,
        **{"model": {"widths": [4, 8]}, **(settings or {})},
    )  # fmt: skip
    return [a, b]


def results(page):
    """The page's first section as text: results and limitations."""
    section = page.read_text().partition('id="results"')[2].partition("</section>")[0]
    words = html.unescape(re.sub(r"<[^>]+>", " ", section.partition(">")[2]))
    return " ".join(words.split())


def test_caveats_of_arms_that_differ_in_strategy_only_are_none(tmp_path):
    page = write_html(pair(tmp_path))
    assert "and p < 0.001 after Holm" in results(page)
    assert "differ in" not in results(page)
    assert pd.read_csv(page.parent / "tables/arms.csv")["p"].notna().sum() == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"model": {"widths": [8, 16]}},
        {"data": {"manifest": "/home/ann/m.csv", "labelled": 8, "batch": {"healthy": 2}}},
        {"inference": {"window": [64, 64, 64]}},
        {"data": {"labelled": 8, "batch": {"healthy": 1}, "crop": [64, 64, 64]}},
    ],
)
def test_caveats_of_confounded_arms_come_first_without_p_value(tmp_path, settings):
    runs = pair(tmp_path, settings)
    for run, extra in zip(runs, ("[32, 32, 32]", None), strict=True):
        if extra:  # the other arm's crop and window, as its own config has them
            text = (run / "config.yaml").read_text()
            text = text.replace("  labelled: 8", f"  labelled: 8\n  crop: {extra}")
            (run / "config.yaml").write_text(f"{text}inference: {{window: {extra}}}\n")
    page = write_html(runs)
    caveats = results(page).partition("Limitations")[2]
    assert caveats.startswith(" Besides the strategy, mil and supervised differ in 1 setting: ")
    assert "no p-value is given" in results(page).partition("Limitations")[0]
    assert "Holm" not in results(page)
    arms = pd.read_csv(page.parent / "tables/arms.csv").set_index("arm")
    assert arms.loc["mil", ["p", "p_holm"]].isna().all()
    assert arms.loc["mil", "other_settings"] in caveats


def test_caveats_of_several_confounders_count_and_list_them(tmp_path):
    settings = {"model": {"widths": [8, 16]}, "data": {"labelled": 8, "batch": {"healthy": 3}}}
    assert "differ in 2 settings: data.batch.healthy and model.widths" in (
        results(write_html(pair(tmp_path, settings)))
    )


def test_caveats_ignore_streams_that_an_arm_does_not_read(tmp_path):
    settings = {"data": {"labelled": 8, "batch": {"healthy": 1, "unlabelled": 2}}}
    runs = pair(tmp_path, settings)
    text = (runs[0] / "config.yaml").read_text()
    (runs[0] / "config.yaml").write_text(text.replace("    healthy: 1", "    healthy: 1\n    "
                                                      "unlabelled: 0"))  # fmt: skip
    assert "differ in" not in results(write_html(runs))


def test_caveats_of_an_arm_without_healthy_scans_and_another_strategy_name_both(tmp_path):
    settings = {"data": {"labelled": 8, "batch": {"healthy": 0}}}
    assert "differ in 1 setting: data.batch.healthy" in (
        results(write_html(pair(tmp_path, settings)))
    )
    alone = pair(tmp_path / "alone", settings, strategies=("supervised",))
    assert "differ in" not in results(write_html(alone))


def test_caveats_on_different_label_budgets_come_first(tmp_path):
    fewer = {name: entry for name, entry in SPLITS.items() if name not in ("t0", "t1", "t2")}
    caveats = list_caveats(read_study(pair(tmp_path, splits=fewer)))
    assert caveats[0] == (
        "The arms were trained with different label budgets (mil: 5 labelled and 3 healthy; "
        "supervised: 8 labelled and 3 healthy training cases)."
    )
    settings = {"data": {"labelled": 5, "batch": {"healthy": 1}}}
    stated = list_caveats(read_study(pair(tmp_path / "stated", settings, splits=fewer)))
    assert stated[0] == caveats[0]
    assert "differ in 1 setting: data.labelled" in stated[1]


def test_caveats_of_runs_of_one_arm_need_two_differing_settings(tmp_path):
    one = pair(tmp_path / "1", {"model": {"widths": [8, 16]}}, strategies=("supervised",))
    assert "and p < 0.001" in results(write_html(one))
    settings = {"model": {"widths": [8, 16]}, "optim": {"lr": 0.1}}
    two = pair(tmp_path / "2", settings, strategies=("supervised",))
    text = (two[0] / "config.yaml").read_text()
    (two[0] / "config.yaml").write_text(f"{text}optim: {{lr: 0.2}}\n")
    assert "differ in 2 settings: model.widths and optim.lr" in results(write_html(two))


def test_caveats_of_a_sweep_have_no_confounders(tmp_path):
    assert not any("differ in" in line for line in list_caveats(read_study(
        [write_sweep(tmp_path / "s", budgets=(4, 16))])))  # fmt: skip


def silent(table):
    return table.assign(predicted_volume_mm3=0.0, dice=table["dice"] * 0, hd95_mm=float("nan"))


def test_report_of_a_silent_net_says_so_and_has_no_best_case(tmp_path):
    page = write_html([write_run(tmp_path / "a", silent(cases(BASE[:4])))])
    text = results(page)
    assert "supervised predicts no foreground voxel on any scan" in text
    assert "Its Dice of 0.000 is that of an empty mask" in text
    assert "supervised has no false positives, which is not informative" in text
    assert text.partition("Limitations")[2].startswith(" supervised predicts no foreground voxel")
    assert "Best case" not in page.read_text()


def test_report_of_a_silent_arm_among_others_has_a_caveat(tmp_path):
    write_run(tmp_path / "a", silent(cases(BASE[:4])))
    write_run(tmp_path / "b", cases(BASE[:4]), strategies=("supervised", "mil"))
    text = results(write_html([tmp_path / "a", tmp_path / "b"]))
    assert text.startswith("Results On 4 validation cases with nodules and 1 seed, mil is")
    assert "Limitations supervised predicts no foreground voxel" in text


def test_report_without_healthy_scans_says_so_at_the_top(tmp_path):
    page = write_html([write_run(tmp_path / "a", cases(BASE[:4], (), healthy=()))])
    top, _, caveats = results(page).partition("Limitations")
    assert "No healthy scan was evaluated" in top
    assert caveats.startswith(" No healthy scan was evaluated")


def test_report_without_nodules_says_so_and_shows_false_positives(tmp_path):
    table = cases((), (4.0, 0.0), nodules=())
    text = results(write_html([write_run(tmp_path / "a", table)]))
    assert "On 2 healthy validation scans" in text
    assert "No case with a nodule was evaluated" in text


def test_caveats_name_a_role_without_validation_case(tmp_path):
    splits = {name: entry for name, entry in SPLITS.items() if name not in HEALTHY}
    splits |= {name: {"role": "healthy", "split": "test"} for name in HEALTHY}
    run = write_run(tmp_path / "a", cases(BASE[:4], nodules=NODULES), splits=splits)
    caveats = list_caveats(read_study([run]))
    assert any(line.startswith("There are no healthy validation cases") for line in caveats)
    assert not any(line.startswith("There are no labelled") for line in caveats)


def test_metric_cases_exclude_cases_with_ignored_nodules():
    table = pd.DataFrame({"reference_volume_mm3": [0.0, 5.0, float("nan")]})
    for metric in SEGMENTATION:
        if metric.population != "lesions":
            assert list(metric.members(table).index) == ([0] if metric.healthy else [1])
