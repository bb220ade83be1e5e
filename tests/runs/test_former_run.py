"""A run trained by an earlier version is still evaluated, predicted with and resumed.

`tests/data/former_run` holds its weights, optimizer and config as written in November 2026:
`mean_teacher` for 12 steps on the phantom below.
"""

import csv
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from semilung.cli import main
from semilung.data import write_volume
from semilung.data.phantom import write_phantom

FORMER = Path(__file__).parents[1] / "data" / "former_run"
MEAN_PROBABILITY = 0.00983174


def run_command(words):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0


@pytest.fixture
def former_run(tmp_path):
    manifest = write_phantom(tmp_path / "phantom", scans=24, size=32, spacing_mm=5.0, seed=3)
    run = tmp_path / "run"
    shutil.copytree(FORMER, run)
    config = (run / "config.yaml").read_text()
    config = config.replace("MANIFEST", str(manifest)).replace("CACHE", str(tmp_path / "cache"))
    (run / "config.yaml").write_text(config)
    return run


def test_evaluate_former_run_writes_metrics_of_every_case(former_run, tmp_path):
    run_command(["evaluate", str(former_run), "--out", str(tmp_path / "metrics")])
    with (tmp_path / "metrics" / "cases.csv").open(newline="") as file:
        cases = list(csv.DictReader(file))
    assert {case["role"] for case in cases} == {"labelled", "healthy"}
    assert all(0 <= float(case["dice"]) <= 1 for case in cases if case["role"] == "labelled")


def test_predict_former_run_gives_the_same_probabilities(former_run, tmp_path):
    noise = np.random.default_rng(7).normal(-700, 200, (24, 24, 24)).round().astype(np.int16)
    write_volume(tmp_path / "scan.nii.gz", noise, np.diag([5.0, 5.0, 5.0, 1.0]))
    words = ["--run", str(former_run), "--out", str(tmp_path / "masks"), "--probability"]
    run_command(["predict", str(tmp_path / "scan.nii.gz"), *words])
    probability = nib.load(tmp_path / "masks" / "scan_probability.nii.gz").get_fdata()
    assert probability.mean() == pytest.approx(MEAN_PROBABILITY, rel=1e-4)
    assert probability.std() > 1e-4


def test_resume_former_run_trains_to_the_end(former_run):
    run_command(["train", f"resume={former_run}", "trainer.max_steps=14"])
    assert (former_run / "metrics.csv").read_text().splitlines()[-1].startswith("14,")
