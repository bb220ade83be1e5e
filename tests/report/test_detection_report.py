"""Reports and ablations of detection: metrics of nodules, FROC, sizes, operating points."""

import re

import numpy as np
import pandas as pd
import pytest
from commands import run as command
from made_sweep import write_run
from tiny_settings import TINY

from semilung.evaluation import write_png, write_report
from semilung.evaluation.case_evaluation import Report
from semilung.evaluation.froc import FP_PER_SCAN
from semilung.evaluation.metrics import DETECTION
from semilung.report import read_study, write_html
from semilung.report.compared_metrics import comparison_table
from semilung.report.operating_points import points_tables
from semilung.tasks.detection import FROC, Detection


@pytest.fixture(scope="module")
def sweep(phantom, tmp_path_factory):
    """An ablation of two arms by CPM, after training for two steps."""
    folder = tmp_path_factory.mktemp("ablation")
    words = [*TINY, f"data.manifest={phantom}", f"data.cache={phantom.parent / 'cache'}"]
    words += ["tasks=detection", "trainer.max_steps=2", "strategy=mean_teacher"]
    words.append(f"sweep_dir={folder / 's'}")
    assert command("ablate", *words) == 0
    return folder / "s"


def test_ablation_of_detection_compares_arms_by_cpm(sweep):
    study = read_study([sweep])
    assert study.score.name == "cpm"
    table = comparison_table(study, study.score)
    nodules = pd.read_csv(next(sweep.rglob("lesions.csv")))
    assert table["arm"].tolist() == ["supervised, no healthy", "supervised", "mean_teacher"]
    assert (table["n_cases"] == len(nodules)).all()  # each nodule counts once
    assert "healthy_fp_at_80" in pd.read_csv(sweep / "results.csv")


def test_report_of_detection_has_the_froc_curve_and_what_was_evaluated(sweep):
    assert command("report", sweep) == 0
    page = (sweep / "report" / "index.html").read_text()
    assert "Free-response ROC" in page
    assert "CPM" in page
    assert "none of 3 arms is better than supervised" in page  # all are 0, and so equal
    assert "No healthy scan was evaluated" not in page
    assert "at sensitivity 0.8 are undefined in at least one run" in page
    assert {"sizes.csv", "operating-points.csv"} <= {
        path.name for path in (sweep / "report" / "tables").iterdir()
    }


CASES = pd.DataFrame({
    "case": ["n1", "n2", "h1"], "cohort": "c", "role": ["labelled", "labelled", "healthy"]
})  # fmt: skip


def detection_run(folder, scores, false, *, seed=0, **settings):
    """Write a run of detection: scores of two nodules in n1 and one in n2, false findings in h1."""
    write_run(folder, CASES.assign(fp_at_80=0.0), seed=seed, tasks={"detection": {}}, **settings)
    lesions = pd.DataFrame({
        "case": ["n1", "n1", "n2"], "cohort": "c", "instance": [1, 2, 1], "nodule": [1, 2, 1],
        "diameter_mm": [5.0, 8.0, np.nan], "probability": scores,
    })  # fmt: skip
    findings = pd.DataFrame({"case": "h1", "cohort": "c", "probability": false, "false": True})
    report = Report(CASES, lesions, DETECTION, findings)
    for checkpoint in ("last", "best"):
        write_report(Detection().complete(report), folder / f"evaluation-val-{checkpoint}")
    return folder


def cells(page, name):
    """Return the rows of a table of a page, from its Markdown."""
    lines = (page.parent / "tables" / f"{name}.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds of an arm."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        detection_run(folder / "a", [0.9, 0.6, np.nan], [0.7, 0.5], seed=0),
        detection_run(folder / "b", [0.8, np.nan, np.nan], [0.3], seed=1),
    ]


@pytest.fixture(scope="module")
def page(runs):
    """Their page."""
    return write_html(runs)


def test_sizes_table_of_detection_by_hand(page):
    header, _, *rows = cells(page, "sizes")
    assert header == ["arm", "metric", "all (n=3)", "&lt; 6 mm (n=1)", "6 to 10 mm (n=1)"]
    # a nodule of unknown diameter is in no bin; seeds are averaged
    assert [[cell[:4] for cell in row[2:]] for row in rows] == [["0.50", "1.00", "0.50"]] * 2


def test_operating_points_table_by_hand(page, runs):
    header, _, *rows = cells(page, "operating-points")
    assert header[-2:] == [
        "false positives per scan with nodules (n=2)", "false positives per healthy scan (n=1)"
    ]  # fmt: skip
    assert rows[0][1:] == ["0.5", "not reached in 1 of 2 runs", *["\N{EN DASH}"] * 3]
    assert rows[3][1:3] == ["0.9", "not reached"]
    (alone,) = points_tables(read_study(runs[:1]))
    assert alone.rows[0][1:] == ["0.5", "0.600", "0.667", "0.00", "1.00"]


def test_report_of_detection_means_run_over_nodules_everywhere(page, runs):
    study = read_study(runs)
    table = comparison_table(study, study.score)
    mean = np.mean([pd.read_csv(run / "evaluation-val-last/lesions.csv")["froc_share"].mean()
                    for run in runs])  # fmt: skip
    assert table["mean"].tolist() == pytest.approx([mean])
    assert table["best_mean"].tolist() == pytest.approx([mean])  # and not of means of scans
    text = page.read_text()
    assert "Mean over nodules" in text
    assert "CPM per nodule" in text
    assert cells(page, "arms")[0][2] == "nodules"


def test_report_of_false_findings_escapes_names_and_reads_no_other_file(tmp_path):
    run = detection_run(tmp_path / "a", [0.9, 0.6, 0.5], [0.7, 0.2, 0.6, 0.1])
    folder = run / "evaluation-val-last"
    findings = pd.read_csv(folder / "findings.csv")
    findings["picture"] = ["1.png", "../secret.png", "2.png", ""]
    findings[["x_mm", "y_mm", "z_mm", "diameter_mm"]] = [1.25, -2.0, 3.0, 8.4]
    findings["case"] = ["h1", "h1", "<i>n1", "h1"]
    findings.to_csv(folder / "findings.csv", index=False)
    rgb = np.full((4, 12, 3), 90, np.uint8)
    for name in ("overlays/findings/1.png", "overlays/secret.png", "overlays/findings/2.png"):
        write_png(folder / name, rgb)
    page = write_html([run]).read_text()
    gallery = page[page.index("<h3>False findings") :].partition("</section>")[0]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", gallery, re.DOTALL)
    assert [" ".join(re.sub("<[^>]+>", "", caption).split()) for caption in captions] == [
        "h1, healthy scan: 8.4 mm at (1.2, \N{MINUS SIGN}2.0, 3.0) probability 0.70",
        "h1, healthy scan: 8.4 mm at (1.2, \N{MINUS SIGN}2.0, 3.0) probability 0.20",
        "&lt;i&gt;n1, scan with nodules: 8.4 mm at (1.2, \N{MINUS SIGN}2.0, 3.0) probability 0.60",
    ]
    assert gallery.count("<img") == 2
    assert "outside the run" in gallery


def evaluation(scores, false):
    """Two scans with a nodule each, and false positives in the second."""
    lesions = pd.DataFrame({"case": ["a", "b"], "nodule": "1", "probability": scores})
    findings = pd.DataFrame({"case": ["b"] * len(false), "probability": false, "false": True})
    return Report(pd.DataFrame({"case": ["a", "b"]}), lesions, findings=findings)


def test_froc_line_is_the_mean_of_the_seeds_with_a_band_around_it():
    seeds = [evaluation([0.9, np.nan], [0.95]), evaluation([0.9, 0.8], [0.85])]
    line = FROC.line(seeds)
    assert (line.x[0], line.x[-1]) == (FP_PER_SCAN[0], pytest.approx(FP_PER_SCAN[-1]))
    # first seed: 0 up to one half a scan, then one half; second: one half, then both
    assert line.y[-1] == pytest.approx(0.75)
    assert line.y[0] == pytest.approx((0 + 0.5) / 2, abs=0.13)
    assert (line.low <= line.y + 1e-9).all()
    assert (line.y <= line.high + 1e-9).all()
