from __future__ import annotations

import io
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from torch import Tensor, nn

from semilung.data.cache.prepare import prepare
from semilung.data.cache.prepared_case import PreparedCase
from semilung.data.data_config import DataConfig
from semilung.data.io.volume import write_volume
from semilung.data.manifest.cases import Case
from semilung.evaluation import (
    Report,
    compare,
    print_table,
    summarise,
    write_report,
)
from semilung.inference import InferenceConfig, Predictor
from semilung.tasks import build_tasks
from semilung.tasks import evaluate_cases as evaluate_tasks
from semilung.types import Role, UserError

SHAPE, SPACING_MM = (16, 14, 12), (1.0, 1.0, 2.0)
WINDOW = InferenceConfig(window=(8, 8, 8))
DATA = DataConfig(window_hu=(-1000.0, 400.0))
BOX, SMALL, ELSEWHERE = np.s_[2:8, 2:8, 2:8], np.s_[11:13, 9:11, 9:11], np.s_[12:14, 2:5, 2:4]


class Bright(nn.Module):
    """A network whose foreground is what is brighter than -300 HU."""

    def __init__(self, gain: float = 50):
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.gain * (x - 0.5)}


def predictor(gain: float = 50, config: InferenceConfig = WINDOW) -> Predictor:
    return Predictor([Bright(gain)], config, DATA)


def prepared(
    folder: Path, name: str, role: Role, *, bright: list, lesions: list, cohort: str = ""
) -> PreparedCase:
    """A case bright in some boxes and masked, with instances 1, 2, ..., in others."""
    hu, mask = np.full(SHAPE, -850, np.int16), np.zeros(SHAPE, np.uint8)
    if not bright:
        hu[-1, -1, -1] = -950  # no scan is constant
    for box in bright:
        hu[box] = 50
    for number, box in enumerate(lesions, start=1):
        mask[box] = number
    affine = np.diag([*SPACING_MM, 1.0])
    write_volume(folder / f"{name}.nii", hu, affine)
    write_volume(folder / f"{name}_mask.nii", mask, affine)
    case = Case(name, name, folder / f"{name}.nii", role, folder / f"{name}_mask.nii")
    case = Case(**{**vars(case), "cohort": cohort})
    config = DataConfig(cache=str(folder / "cache"), spacing_mm=None)
    return prepare([case], config, progress=False, processes=0)[0]


def evaluate_cases(predictor: Predictor, cases: list[PreparedCase]) -> Report:
    return evaluate_tasks(predictor, cases, build_tasks())


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> list[PreparedCase]:
    folder = tmp_path_factory.mktemp("cases")
    return [
        prepared(folder, "both", "labelled", bright=[BOX, SMALL], lesions=[BOX, SMALL]),
        prepared(folder, "one", "labelled", bright=[BOX, ELSEWHERE], lesions=[BOX, SMALL]),
        prepared(folder, "none", "labelled", bright=[], lesions=[SMALL]),
        prepared(folder, "calm", "healthy", bright=[], lesions=[], cohort="a"),
        prepared(folder, "loud", "healthy", bright=[BOX, ELSEWHERE], lesions=[], cohort="b"),
    ]


@pytest.fixture(scope="module")
def report(cases) -> Report:
    return evaluate_cases(predictor(), cases)


def test_evaluate_cases_has_a_row_of_metrics_per_case(report):
    by_case = report.cases.set_index("case")
    # BOX has 216 voxels of 2 mm3, SMALL 8, ELSEWHERE 12.
    assert by_case["dice"].round(6).to_dict() == pytest.approx(
        {"both": 1, "one": round(2 * 216 / (228 + 224), 6), "none": 0}
        | dict.fromkeys(("calm", "loud"), math.nan),
        nan_ok=True,
    )
    volumes = by_case[["reference_volume_mm3", "predicted_volume_mm3"]].to_numpy()
    assert volumes.tolist() == [[448, 448], [448, 456], [16, 0], [0, 0], [0, 456]]
    false = by_case[["fp_components", "fp_volume_mm3"]].to_numpy()
    assert false.tolist() == [[0, 0], [1, 24], [0, 0], [0, 0], [2, 456]]
    assert by_case["hd95_mm"].isna().tolist() == [False, False, True, True, True]
    assert by_case.loc["both", "hd95_mm"] == 0
    assert by_case.loc["none", "surface_dice_2mm"] == 0
    assert by_case["role"].tolist() == ["labelled"] * 3 + ["healthy"] * 2


def test_evaluate_cases_has_a_row_per_reference_lesion(report):
    actual = report.lesions[["case", "instance", "detected", "dice"]].to_numpy().tolist()
    assert actual == [
        ["both", 1, True, 1],
        ["both", 2, True, 1],
        ["one", 1, True, 1],
        ["one", 2, False, 0],
        ["none", 1, False, 0],
    ]


def test_evaluate_cases_calibration_is_of_the_probabilities(report):
    by_case = report.cases.set_index("case")
    # Sigmoids of the logits 50 (150 / 1400 - 0.5) and 50 (1050 / 1400 - 0.5) are 3e-9 and 1 - 4e-6,
    # so of 2688 voxels the errors are those of the mask: 12 + 8 of "one", 8 of "none".
    errors = {"both": 0, "one": 20, "none": 8, "calm": 0, "loud": 228}
    for metric in ("ece", "brier"):
        expected = {name: count / 2688 for name, count in errors.items()}
        assert by_case[metric].to_dict() == pytest.approx(expected, abs=1e-5)
    confident = {"both": 0, "one": 12 / 228, "none": math.nan, "calm": math.nan, "loud": 1}
    actual = by_case["foreground_ece"].to_dict()
    assert actual == pytest.approx(confident, abs=1e-5, nan_ok=True)


def test_evaluate_cases_uncertain_network_has_calibration_error_despite_a_perfect_mask(cases):
    metrics = evaluate_cases(predictor(gain=5), cases[:1]).cases.iloc[0]
    assert metrics["dice"] == 1
    # Of 2688 voxels 224 are bright. Logits 5 (1050 / 1400 - 0.5) and 5 (150 / 1400 - 0.5).
    bright, dark = 1 / (1 + math.exp(-1.25)), 1 / (1 + math.exp(5 * 550 / 1400))
    error = (224 * (1 - bright) + 2464 * dark) / 2688
    assert metrics[["ece", "foreground_ece"]].tolist() == pytest.approx([error] * 2, abs=1e-5)
    brier = (224 * (1 - bright) ** 2 + 2464 * dark**2) / 2688
    assert metrics["brier"] == pytest.approx(brier, abs=1e-5)


def test_summarise_separates_positive_and_healthy_scans(report):
    rows = summarise(report).set_index(["metric", "group"])

    def mean_and_n(metric: str, group: str) -> tuple[float, int]:
        row = rows.loc[(metric, group)]
        return round(row["mean"], 6), row["n"]

    assert mean_and_n("dice", "positive") == (round((1 + 432 / 452) / 3, 6), 3)
    assert mean_and_n("hd95_mm", "positive")[1] == 2
    assert mean_and_n("empty_prediction", "positive") == (0.333333, 3)
    assert mean_and_n("fp_components", "positive") == (0.333333, 3)
    assert mean_and_n("sensitivity", "lesions") == (0.6, 5)
    # 16 mm3 is a sphere of 3.1 mm, 432 mm3 one of 9.4 mm.
    assert mean_and_n("sensitivity", "lesions < 6 mm") == (0.333333, 3)
    assert mean_and_n("lesion_dice", "lesions 6-10 mm") == (1, 2)
    assert mean_and_n("sensitivity", "lesions >= 20 mm")[1] == 0
    assert mean_and_n("fp_components", "healthy") == (1, 2)
    assert mean_and_n("fp_volume_mm3", "healthy") == (228, 2)
    assert mean_and_n("silent", "healthy") == (0.5, 2)
    assert mean_and_n("ece", "healthy")[1] == 2
    assert mean_and_n("foreground_ece", "positive")[1] == 2
    assert mean_and_n("silent", "healthy a") == (1, 1)
    assert mean_and_n("fp_components", "healthy b") == (2, 1)


def test_summarise_sensitivity_of_one_has_an_interval(report):
    row = summarise(report).set_index(["metric", "group"]).loc[("sensitivity", "lesions 6-10 mm")]
    assert row["mean"] == row["high"] == 1
    assert row["low"] == pytest.approx(2 / (2 + 1.959964**2))  # Wilson's at two of two


def test_summarise_older_tables_without_calibration_are_accepted(report):
    older = replace(report, cases=report.cases.drop(columns=["ece", "foreground_ece", "brier"]))
    assert "ece" not in set(summarise(older)["metric"])


def test_summarise_healthy_scans_only_leaves_other_groups_undefined(cases):
    summary = summarise(evaluate_cases(predictor(), cases[3:4]))
    rows = summary.set_index(["metric", "group"])
    assert rows.loc[("dice", "positive"), "n"] == 0
    assert rows.loc[("sensitivity", "lesions"), "n"] == 0
    assert rows.loc[("silent", "healthy"), "mean"] == 1
    assert "healthy a" not in set(summary["group"])


def test_summarise_labelled_scan_without_lesions_counts_as_healthy(tmp_path):
    case = prepared(tmp_path, "clear", "labelled", bright=[SMALL], lesions=[])
    summary = summarise(evaluate_cases(predictor(), [case]))
    row = summary.set_index(["metric", "group"]).loc[("fp_components", "healthy")]
    assert (row["mean"], row["n"]) == (1, 1)


def test_evaluate_cases_applies_threshold_and_smallest_component(cases):
    report = evaluate_cases(predictor(config=replace(WINDOW, min_volume_mm3=100)), cases)
    assert report.cases["fp_components"].tolist() == [0, 0, 0, 0, 1]
    # The logit of the bright boxes is 50 * (1050 / 1400 - 0.5) = 12.5.
    silent = evaluate_cases(predictor(config=replace(WINDOW, threshold=1 - 1e-6)), cases)
    assert (silent.cases["predicted_volume_mm3"] == 0).all()


def test_write_report_files_read_back_equal(report, tmp_path):
    write_report(report, tmp_path / "report")
    files = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert files == ["cases.csv", "lesions.csv", "summary.csv", "summary.md"]
    for name, table in {"cases": report.cases, "lesions": report.lesions}.items():
        read = pd.read_csv(tmp_path / "report" / f"{name}.csv", dtype={"cohort": str})
        read = read.fillna({"cohort": ""})
        pd.testing.assert_frame_equal(read, table, check_dtype=False)
    lines = (tmp_path / "report" / "summary.md").read_text().splitlines()
    assert len({len(line) for line in lines}) == 1  # aligned
    assert len(lines) == 2 + len(summarise(report))
    assert lines[2].split("|")[1].strip() == "dice"


def test_print_table_shows_every_value(report):
    out = io.StringIO()
    print_table(summarise(report), Console(file=out, width=120))
    text = out.getvalue()
    assert "0.652" in text  # (1 + 0.956 + 0) / 3
    assert "lesions >= 20 mm" in text
    assert "nan" not in text


@pytest.mark.parametrize(("terminal", "columns"), [(True, 70), (False, 120)])
def test_print_table_is_as_wide_as_the_terminal_or_120_columns(
    report, terminal, columns, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    summary = summarise(report)
    summary["unit"] = "x" * 150  # wider than any screen
    print_table(summary)
    border = capsys.readouterr().out.splitlines()[0]
    assert len(border) == columns


def test_evaluate_cases_without_or_repeated_or_unlabelled_cases_is_an_error(cases, tmp_path):
    with pytest.raises(UserError, match="no cases"):
        evaluate_cases(predictor(), [])
    with pytest.raises(UserError, match="both"):
        evaluate_cases(predictor(), [*cases, cases[0]])
    secret = prepared(tmp_path, "secret", "unlabelled", bright=[], lesions=[BOX])
    with pytest.raises(UserError, match="secret"):
        evaluate_cases(predictor(), [*cases, secret])


def test_compare_ignored_voxels_are_excluded_from_both_masks():
    prediction, reference = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    prediction[BOX], reference[BOX] = 1, 255
    prediction[SMALL], reference[SMALL] = 1, 1
    metrics = compare(prediction, reference, SPACING_MM)
    assert metrics["dice"] == 1
    assert metrics["predicted_volume_mm3"] == metrics["reference_volume_mm3"] == 16
    assert metrics["fp_components"] == 0


def test_evaluate_cases_case_with_ignored_nodules_counts_in_no_group(tmp_path):
    cases = [
        prepared(tmp_path, "sick", "labelled", bright=[BOX], lesions=[BOX]),
        prepared(tmp_path, "well", "healthy", bright=[], lesions=[]),
    ]
    write_volume(
        tmp_path / "unsure_mask.nii",
        np.where(np.indices(SHAPE)[0] < 4, 255, 0).astype(np.uint8),
        np.diag([*SPACING_MM, 1.0]),
    )
    write_volume(
        tmp_path / "unsure.nii",
        np.where(np.indices(SHAPE)[0] < 4, 50, -850).astype(np.int16),
        np.diag([*SPACING_MM, 1.0]),
    )
    unsure = Case("unsure", "q", tmp_path / "unsure.nii", "labelled", tmp_path / "unsure_mask.nii")
    config = DataConfig(cache=str(tmp_path / "cache"), spacing_mm=None)
    cases += prepare([unsure], config, progress=False)
    with pytest.warns(UserWarning, match="every marked voxel of unsure is 255"):
        report = evaluate_cases(predictor(), cases)
    summary = summarise(report, empty="nnunet").set_index(["metric", "group"])
    assert summary.loc[("silent", "healthy"), "n"] == 1
    assert summary.loc[("dice", "positive"), "n"] == 1
    assert summary.loc[("dice", "all scans, as nnunet"), "n"] == 1
