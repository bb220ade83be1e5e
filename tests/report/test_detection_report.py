"""Reports and ablations of detection: metrics of nodules, and the FROC curve."""

import numpy as np
import pandas as pd
import pytest
from commands import run as command
from tiny_settings import TINY

from semilung.evaluation.case_evaluation import Report
from semilung.evaluation.froc import FP_PER_SCAN
from semilung.report import read_study
from semilung.report.compared_metrics import comparison_table
from semilung.tasks.detection import FROC


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
    assert set(table["arm"]) >= {"supervised", "mean_teacher"}
    assert (table["n_cases"] == len(nodules)).all()  # each nodule counts once
    assert "healthy_fp_at_80" in pd.read_csv(sweep / "results.csv")


def test_report_of_detection_has_the_froc_curve(sweep):
    assert command("report", sweep) == 0
    page = (sweep / "report" / "index.html").read_text()
    assert "Free-response ROC" in page
    assert "CPM" in page


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
