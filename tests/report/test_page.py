"""The page and its tables, from folders to text."""

import base64
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import yaml
from made_sweep import ARMS, NODULES, cases, write_evaluation, write_run, write_sweep

from semilung.evaluation import write_png
from semilung.report import write_html
from semilung.types import UserError


class Reader(HTMLParser):
    """Collects tags with their attributes, ids, and text outside style."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._open = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data):
        if self._open != "style":
            self.words.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_headline_equals_hand_calculation(page):
    text = Reader(page.read_text()).text
    # Seeds add 0, 0.01 and 0.02; mean teacher: (0.7 + 0.6 + 0.5 + 0.8) / 4 + 0.01 = 0.66,
    # supervised: 0.5 + 0.01. Every case gains 0.1 to 0.2, so the interval is above zero.
    assert "On 4 validation cases with nodules and 3 seeds, mean_teacher is the best of" in text
    assert "(Dice 0.660, 95 % interval" in text
    assert "Its paired difference from supervised is +0.150" in text
    assert "The interval excludes zero, but p" in text  # four pairs cannot reach 0.05
    # 5 mm3 per scan instead of 500: 99 % less; supervised has 10.
    assert "mean_teacher has 5.0 mm³ of false positives per scan, 99.0 % less" in text
    assert "supervised has 10.0 mm³" in text
    assert "Results are on validation cases" in text


def test_arms_table_files_equal_hand_calculation(page):
    table = pd.read_csv(page.parent / "tables/arms.csv").set_index("arm")
    assert table["mean"].round(6).to_dict() == {
        "supervised, no healthy": 0.51,
        "supervised": 0.51,
        "mean_teacher": 0.66,
    }
    assert table.loc["mean_teacher", "difference"] == pytest.approx(0.15)
    # the last of two validations has the higher Dice, so the last checkpoint is the best one
    assert table.loc["mean_teacher", "best_mean"] == pytest.approx(0.66)
    markdown = (page.parent / "tables/arms.md").read_text().splitlines()
    assert markdown[1].startswith("| --- | --: |")
    assert len({line.count("|") for line in markdown}) == 1


def test_page_every_table_has_its_files(page):
    links = [a["href"] for a in Reader(page.read_text()).of("a") if a["href"].startswith("tables")]
    assert {"tables/arms.csv", "tables/figures.md", "tables/sizes.csv", "tables/cost.csv"} <= set(
        links
    )
    assert all((page.parent / link).is_file() for link in links)


def test_page_is_self_contained(page):
    reader = Reader(page.read_text())
    assert not reader.of("script")
    assert not reader.of("link")[1:]
    sources = [image["src"] for image in reader.of("img")]
    assert all(source.startswith("data:image/") for source in sources)
    assert all(image["alt"] for image in reader.of("img"))
    inner = [
        base64.b64decode(s.partition(",")[2]).decode()
        for s in sources
        if s.startswith("data:image/svg")
    ]
    assert inner
    assert not any(re.search(r"(?:href|src)=\"(?!#)", svg) for svg in inner)
    assert not re.search(r"(?:url\(|@import)", page.read_text())


def test_page_headings_skip_no_level(page):
    levels = [int(tag[1]) for tag, _ in Reader(page.read_text()).tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_page_ids_are_unique_and_internal_links_resolve(page):
    reader = Reader(page.read_text())
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    inner = {a["href"][1:] for a in reader.of("a") if a["href"].startswith("#")}
    assert inner <= set(ids)


def test_page_contains_no_absolute_path(page, sweep):
    text = page.read_text() + "".join(p.read_text() for p in (page.parent / "tables").iterdir())
    assert "/home" not in text
    assert "my scans" not in text
    assert str(sweep.parent) not in text
    assert "…/manifest.csv" in text


def test_page_shows_best_median_and_worst_case_in_reference_and_best_arm(page):
    text = page.read_text()
    # mean teacher: n3 0.5, n2 0.6, n1 0.7, n4 0.8; of four the lower middle one is the median
    assert "Best case: n4" in text
    assert "Median case: n2" in text
    assert "Worst case: n3" in text
    reader = Reader(text)
    pictures = [i["alt"] for i in reader.of("img") if i["src"].startswith("data:image/png")]
    assert "Axial, coronal and sagittal plane of n4 in supervised, seed 0: Dice 0.600." in pictures
    assert (
        "Axial, coronal and sagittal plane of n4 in mean_teacher, seed 0: Dice 0.800." in pictures
    )
    assert any(
        "h1 in mean_teacher" in alt and "10.0\N{NO-BREAK SPACE}mm³ of false positives" in alt
        for alt in pictures
    )
    assert "no overlay was written" in reader.text  # n2 has none
    assert "Healthy scan: h2" not in text  # no false positives in the best arm


def test_page_begins_with_median_case_and_silent_healthy_scan_of_best_arm(tmp_path):
    tables = {"supervised": cases((0.1, 0.2, 0.3, 0.2)), "mil": cases((0.5, 0.6, 0.7, 0.8))}
    for name, table in tables.items():
        run = write_run(tmp_path / name, table, strategies=("supervised", name))
        for case in ("n2", "h1", "h2"):
            picture = np.full((8, 24, 3), 90, np.uint8)
            write_png(run / f"evaluation-val-last/overlays/{case}.png", picture)
    text = write_html([tmp_path / name for name in tables]).read_text()
    top = Reader(text.partition("<h3>Limitations")[0])
    assert [i["alt"] for i in top.of("img")] == [
        "Axial, coronal and sagittal plane of n2 in mil, seed 0: Dice 0.600.",
        "Axial, coronal and sagittal plane of h1 in mil, seed 0: no false positives.",
    ]
    assert "Median case with a nodule: n2" in top.text
    assert "Healthy scan without false positives in mil: h1" in Reader(text).text


def test_page_begins_with_the_seed_that_is_closest_to_the_mean(tmp_path):
    for seed, value in enumerate((0.0, 0.9, 0.6)):
        run = write_run(tmp_path / f"{seed}", cases((0.1, value, 0.9, 0.7)), seed=seed)
        write_png(run / "evaluation-val-last/overlays/n2.png", np.full((8, 24, 3), 90, np.uint8))
    text = write_html([tmp_path / f"{seed}" for seed in range(3)]).read_text()
    first = Reader(text.partition("<h3>Limitations")[0]).of("img")[0]
    # means over seeds: n1 0.1, n2 0.5, n4 0.7, n3 0.9; of four the lower middle one
    assert "n2 in supervised, seed 2: Dice 0.600" in first["alt"]


def test_page_explains_each_metric_once_with_unit_and_direction(page):
    table = pd.read_csv(page.parent / "tables/metrics.csv")
    assert {"Dice", "HD95", "Share of silent healthy scans"} <= set(table["metric"])
    assert set(table["better"]) == {"higher", "lower"}
    assert table["meaning"].str.len().between(20, 160).all()
    wide = pd.read_csv(page.parent / "tables/figures.csv")["figure"].unique()
    assert len(wide) == len(table)


def test_page_share_of_silent_scans_is_a_metric_between_0_and_1(page):
    table = pd.read_csv(page.parent / "tables/figures.csv").set_index(["figure", "arm"])
    silent = table.loc["silent"]
    assert silent.loc["mean_teacher", "mean"] == 0.5  # h1 has 10 mm3 marked, h2 nothing
    assert silent[["low", "high"]].stack().between(0, 1).all()


def test_page_zero_has_no_sign(tmp_path):
    sweep = write_sweep(tmp_path / "s", seeds=(0,))
    for run in (sweep / "runs").iterdir():  # no lesion detected: Wilson's lower bound is 0
        path = run / "evaluation-val-last/lesions.csv"
        pd.read_csv(path).assign(detected=False).to_csv(path, index=False)
    page = write_html([sweep])
    written = page.read_text() + "".join(p.read_text() for p in (page.parent / "tables").iterdir())
    assert "0.00 (0.00\N{NO-BREAK SPACE}to" in written
    assert not re.search(r"[-\N{MINUS SIGN}]0\.0+(?![0-9])", written)


def test_page_quotes_an_arm_whose_name_has_a_comma(tmp_path):
    arms = {name: ARMS[name] for name in ("supervised", "supervised, no healthy")}
    arms["supervised, no healthy"] = (("supervised",), (0.8, 0.9, 0.7, 0.8), (400.0, 600.0))
    text = Reader(write_html([write_sweep(tmp_path / "s", arms=arms)]).read_text()).text
    assert "“supervised, no healthy” is the best of 2 arms" in text


def test_page_markup_in_names_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    nodules = (evil, *NODULES[1:])
    splits = {name: {"role": "labelled", "split": "val"} for name in nodules}
    for name in ("a", "b"):
        strategies = ("supervised",) if name == "a" else ("supervised", f"mt{evil}")
        table = cases((0.9, 0.2, 0.3, 0.4), nodules=nodules)
        write_run(tmp_path / name, table, strategies=strategies, splits=splits)
        note = {"leak": {"status": "warning", "summary": evil, "advice": f"see | {evil}"}}
        (tmp_path / name / "audits.json").write_text(json.dumps(note))
    path = write_html([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    reader = Reader(path.read_text())
    assert not reader.of("script")
    assert evil in reader.text
    (line,) = (tmp_path / "out/tables/audits.md").read_text().splitlines()[2:]
    assert "<" not in line
    assert "\\|" in line


def test_page_case_name_that_is_a_path_reads_no_file(tmp_path):
    secret = tmp_path / "runs/secret.png"
    secret.parent.mkdir()
    secret.write_bytes(b"secret")
    nodules = ("../../../secret", *NODULES[1:])
    splits = {name: {"role": "labelled", "split": "val"} for name in nodules}
    write_run(tmp_path / "runs/a", cases((0.9, 0.2, 0.3, 0.4), nodules=nodules), splits=splits)
    assert (
        tmp_path / "runs/a/evaluation-val-last/overlays" / f"{nodules[0]}.png"
    ).resolve() == secret
    page = write_html([tmp_path / "runs/a"], tmp_path / "out").read_text()
    assert base64.b64encode(b"secret").decode() not in page


def test_page_of_one_run_has_no_comparison(tmp_path):
    run = write_run(tmp_path / "lonely", cases((0.5, 0.6, 0.7, 0.8), (3.0, 0.0)))
    text = Reader(write_html([run]).read_text()).text
    assert "only supervised was evaluated (Dice 0.650, 95 % interval" in text
    assert "so there is no comparison" in text
    assert "With one seed" in text
    assert (run / "report/tables/arms.csv").is_file()


def test_page_of_absent_files_omits_their_sections(tmp_path):
    run = write_run(tmp_path / "bare", cases((0.5, 0.6, 0.7, 0.8)).drop(columns="hd95_mm"))
    for name in ("metrics.csv", "provenance.json", "splits.json"):
        (run / name).unlink()
    (run / "evaluation-val-last/lesions.csv").unlink()
    reader = Reader(write_html([run]).read_text())
    assert "HD95" not in reader.text
    assert "Learning curves" not in reader.text
    assert "Cost" not in reader.text
    assert "Audits" not in reader.text


def test_page_of_several_budgets_compares_each_and_plots_a_curve(tmp_path):
    page = write_html([write_sweep(tmp_path / "s", seeds=(0,), budgets=(4, 16))])
    table = pd.read_csv(page.parent / "tables/arms.csv").set_index(["setting", "arm"])
    # budgets add 0.04 and 0.16
    assert table.loc[("data.labelled=4", "supervised"), "mean"] == pytest.approx(0.54)
    assert table.loc[("data.labelled=16", "mean_teacher"), "mean"] == pytest.approx(0.81)
    assert table.loc[("data.labelled=16", "mean_teacher"), "difference"] == pytest.approx(0.15)
    text = Reader(page.read_text()).text
    assert "In 2 of 2 settings, the best arm is better than its reference" in text
    assert "Metrics against data.labelled" in text


def test_page_of_one_arm_compares_its_settings(tmp_path):
    arms = {"mean_teacher": ARMS["mean_teacher"]}
    page = write_html([write_sweep(tmp_path / "s", budgets=(4, 16), arms=arms)])
    table = pd.read_csv(page.parent / "tables/arms.csv").set_index("arm")
    assert table.loc["data.labelled=16", "difference"] == pytest.approx(0.12)


def test_headline_of_another_metric_uses_it(tmp_path, sweep):
    page = write_html([sweep], tmp_path, metric="healthy_fp_mm3")
    text = Reader(page.read_text()).text
    assert "On 2 healthy validation scans and 3 seeds, mean_teacher is the best of 3 arms" in text
    assert "False positives on healthy scans 5.0 mm³ per scan" in text


def test_page_calibration_is_of_scans_with_a_nodule(tmp_path):
    table = cases((0.5, 0.6, 0.7, 0.8))
    table["brier"] = [0.1, 0.1, 0.1, 0.1, 0.9, 0.9]
    page = write_html([write_run(tmp_path / "a", table)], metric="brier")
    assert pd.read_csv(page.parent / "tables/arms.csv")["mean"].tolist() == [pytest.approx(0.1)]
    assert "On 4 validation cases with nodules and 1 seed" in Reader(page.read_text()).text


def test_write_html_unknown_or_undefined_metric_is_an_error_with_the_defined_ones(sweep, tmp_path):
    with pytest.raises(UserError, match="no such metric; the runs have: dice, surface_dice"):
        write_html([sweep], tmp_path, metric="accuracy")
    with pytest.raises(UserError, match="undefined in at least one run; metrics defined in all"):
        write_html([sweep], tmp_path, metric="brier")


def test_page_of_a_swept_count_plots_it(tmp_path):
    sweep = write_sweep(tmp_path / "s", seeds=(0,))
    rows = pd.read_csv(sweep / "results.csv")
    rows.insert(3, "data.batch.healthy", [0, 1, 1])
    rows.to_csv(sweep / "results.csv", index=False)
    assert "against data.batch.healthy" in write_html([sweep]).read_text()
    rows["data.batch.healthy"] = [None, 1, 2]  # no count where it is absent
    rows.to_csv(sweep / "results.csv", index=False)
    assert "against data.batch.healthy" not in write_html([sweep]).read_text()


def test_page_of_different_thresholds_has_a_caveat(tmp_path):
    runs = []
    for cut, strategies in ((0.5, ("supervised",)), (0.9, ("supervised", "mil"))):
        table = cases((0.5, 0.6, 0.7, 0.8)).assign(threshold=cut)
        runs.append(write_run(tmp_path / f"{cut}", table, strategies=strategies))
    assert "evaluated at different thresholds (0.5 and 0.9)" in write_html(runs).read_text()


def test_page_external_set_that_is_not_comparable_has_a_caveat(tmp_path):
    runs = []
    for i, strategies in enumerate((("supervised",), ("supervised", "mil"))):
        run = write_run(tmp_path / f"{i}", cases((0.5, 0.6, 0.7, 0.8)), strategies=strategies)
        other = cases((), (7.0,), nodules=(), healthy=(f"b{i}",))
        write_evaluation(run, other, "background-last")
        runs.append(run)
    page = write_html(runs)
    assert "There is no table of the scans of background: test cases differ" in page.read_text()
    assert not (page.parent / "tables/figures-background.csv").exists()


def test_page_external_set_has_a_table(tmp_path):
    sweep = write_sweep(tmp_path / "s")
    for run in (sweep / "runs").iterdir():
        elsewhere = cases((), (7.0, 1.0), nodules=(), healthy=("b1", "b2"))
        write_evaluation(run, elsewhere, "background-last")
    page = write_html([sweep])
    table = pd.read_csv(page.parent / "tables/figures-background.csv")
    volume = table[table["figure"] == "healthy_fp_mm3"]
    assert volume["mean"].tolist() == [4.0, 4.0, 4.0]


def test_audits_table_shows_status_as_symbol_and_text_worst_first(tmp_path):
    sweep = write_sweep(tmp_path / "s")
    for run in sorted((sweep / "runs").iterdir()):
        bad = "mean_teacher" in yaml.safe_load((run / "config.yaml").read_text())["strategies"]
        note = {
            "split_leakage": {"status": "ok", "summary": "No patient in two splits."},
            "pseudo_labels": {"status": "warning" if bad else "not applicable",
                              "summary": "Collapsed." if bad else "No labels."},
        }  # fmt: skip
        (run / "audits.json").write_text(json.dumps(note))
    page = write_html([sweep])
    rows = (page.parent / "tables/audits.md").read_text().splitlines()[2:]
    assert rows[0] == "| ▲ warning | pseudo labels | Collapsed. |  | mean_teacher |"
    assert rows[1] == "| ● ok | split leakage | No patient in two splits. |  | all |"
    assert rows[2].startswith("| ○ not applicable | pseudo labels")


def test_audits_table_runs_with_equal_status_share_a_row(tmp_path):
    sweep = write_sweep(tmp_path / "s", arms={"mil": ARMS["mean_teacher"]})
    for place, run in enumerate(sorted((sweep / "runs").iterdir())):
        status = "ok" if place < 2 else "warning"
        note = {"probe": {"status": status, "summary": f"AUC 0.{place}.", "figures": {"auc": 0.5}}}
        (run / "audits.json").write_text(json.dumps(note))
    page = write_html([sweep])
    rows = (page.parent / "tables/audits.md").read_text().splitlines()[2:]
    assert rows == [
        "| ▲ warning | probe | AUC 0.2. |  | mil (1 of 3 runs) |",
        "| ● ok | probe | AUC 0.0. (r0; other runs: audits.csv) |  | mil (2 of 3 runs) |",
    ]
    assert len(pd.read_csv(page.parent / "tables/audits.csv")) == 3


def test_page_of_equal_folders_is_equal_bytes(sweep, page, tmp_path):
    assert write_html([sweep], tmp_path).read_bytes() == page.read_bytes()


def test_page_of_failed_runs_lists_them(tmp_path):
    sweep = write_sweep(tmp_path / "s")
    (sweep / "failures.csv").write_text("run,arm,message\nx,mil,lost /home/ann/m.csv\n")
    text = Reader(write_html([sweep]).read_text()).text
    assert "The comparison excludes 1 failed run." in text
    assert "lost …/m.csv" in text
