"""`semilung radiomics`: tables, resumption and mistakes."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import run

from semilung.api import radiomics as command
from semilung.data import read_manifest, write_volume
from semilung.radiomics import feature_table, mirp_objects, nodule_rows

pytest.importorskip("mirp")

GRID = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.fixture
def cohort(tmp_path):
    """A manifest of two scans with one and two nodules, and a healthy one."""
    rows = []
    for name, boxes in (("a", [(3, 3, 3)]), ("b", [(3, 3, 3), (14, 14, 8)]), ("c", [])):
        image = np.random.default_rng(len(boxes)).normal(-700, 80, (24, 24, 16))
        mask = np.zeros(image.shape, np.uint8)
        for x, y, z in boxes:
            mask[x : x + 5, y : y + 5, z : z + 4] = 1
        write_volume(tmp_path / f"{name}.nii.gz", (image + 700.0 * mask).astype(np.int16), GRID)
        write_volume(tmp_path / f"{name}_mask.nii.gz", mask, GRID)
        role = "labelled" if boxes else "healthy"
        rows.append((name, f"p{name}", f"{name}.nii.gz", role, f"{name}_mask.nii.gz", "train"))
    columns = ["case", "patient", "image", "role", "mask", "split"]
    manifest = tmp_path / "manifest.csv"
    pd.DataFrame(rows, columns=columns).to_csv(manifest, index=False)
    return manifest


def radiomics(manifest, *arguments):
    return run("radiomics", manifest, "--processes", "0", *arguments)


def test_radiomics_writes_a_row_a_nodule(cohort, tmp_path, capsys):
    out = tmp_path / "f.csv"
    assert radiomics(cohort, "--out", out, "spacing_mm=2") == 0
    assert "3 nodules" in capsys.readouterr().out
    table = pd.read_csv(out, dtype={"nodule": str})
    assert table[["case", "nodule"]].to_numpy().tolist() == [["a", "1"], ["b", "1"], ["b", "2"]]
    first = ["case", "patient", "nodule", "role", "split", "cohort", "volume_mm3", "diameter_mm"]
    assert [*table.columns[:9]] == [*first, "morph_volume"]
    assert table["volume_mm3"].tolist() == [800.0] * 3
    assert table["stat_mean"].between(-60, 60).all()
    content = json.loads((tmp_path / "f.json").read_text())
    assert content["settings"]["spacing_mm"] == 2
    assert {"semilung", "mirp", "features"} <= set(content)
    assert [row["feature"] for row in content["features"]] == [*table.columns[8:]]


def test_radiomics_writes_the_stability_over_perturbed_masks(cohort, tmp_path, monkeypatch, capsys):
    names = feature_table()["feature"]
    sizes = lambda image, mask, settings: dict.fromkeys(names, float(mask.data.sum()))  # noqa: E731
    monkeypatch.setattr(nodule_rows, "radiomic_features", sizes)
    stability = tmp_path / "s.csv"
    assert radiomics(cohort, "--out", tmp_path / "f.csv", "--stability", stability) == 0
    assert "0 of 159 features have an ICC of 0.75 or more" in capsys.readouterr().out
    scores = pd.read_csv(stability)
    assert len(scores) == 159
    assert scores[["nodules", "perturbations"]].drop_duplicates().to_numpy().tolist() == [[3, 8]]


def test_radiomics_computes_only_what_is_missing(cohort, tmp_path, monkeypatch, capsys):
    out = tmp_path / "f.csv"
    (tmp_path / "b_mask.nii.gz").rename(tmp_path / "later.nii.gz")
    assert radiomics(cohort, "--out", out) == 2
    error = capsys.readouterr().err
    assert "1 of 2 cases have no features:\n  b: " in error
    assert pd.read_csv(out)["case"].tolist() == ["a"]
    (tmp_path / "later.nii.gz").rename(tmp_path / "b_mask.nii.gz")
    computed, rows_of = [], command.nodule_rows
    monkeypatch.setattr(
        command,
        "nodule_rows",
        lambda case, *a, **k: computed.append(case.case) or rows_of(case, *a, **k),
    )
    assert radiomics(cohort, "--out", out) == 0
    assert computed == ["b"]
    assert pd.read_csv(out)["case"].tolist() == ["a", "b", "b"]
    assert radiomics(cohort, "--out", out, "bin_width_hu=20") == 2
    assert "settings.bin_width_hu 25.0, which is now 20" in capsys.readouterr().err
    assert computed == ["b"]


def test_radiomics_of_a_run_has_its_findings_and_their_matches(trained, phantom, tmp_path):
    cases = [case for case in read_manifest(phantom) if case.role == "labelled"][:1]
    manifest = pd.read_csv(phantom)
    table = manifest[manifest["case"] == cases[0].case]
    paths = ["image", "mask"]
    table = table.assign(**{name: phantom.parent / table[name].iloc[0] for name in paths})
    table[["case", "patient", "image", "role", "mask"]].to_csv(tmp_path / "m.csv", index=False)
    out = tmp_path / "f.csv"
    arguments = ("--out", out, "--run", trained, "--threshold", "0", "spacing_mm=4")
    assert radiomics(tmp_path / "m.csv", *arguments) == 0
    rows = pd.read_csv(out, dtype={"reference": str})  # all that is in the lungs is one finding
    assert rows[["nodule", "finding", "matched"]].to_numpy().tolist() == [["finding_1", 1, 1]]
    assert rows["reference"].notna().all()
    assert rows["probability"].between(0, 1).all()
    assert (tmp_path / "f_cases" / "masks" / f"{cases[0].case}.nii.gz").exists()
    assert json.loads((tmp_path / "f.json").read_text())["run"]["threshold"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "f.txt"), "--out f.txt is not the name of a CSV file"),
        (("--out", "f.csv", "--stability", "s"), "--stability s is not the name of a CSV file"),
        (("--out", "f.csv", "bin_width=3"), "did you mean radiomics.bin_width_hu?"),
        (("--out", "f.csv", "bins=1"), "radiomics.bins=1 is out of range"),
        (("--out", "f.csv", "--threshold", "0.4"), "add --run RUN"),
    ],
)
def test_radiomics_mistakes_are_one_message_and_leave_nothing(
    cohort, tmp_path, monkeypatch, capsys, arguments, message
):
    before = {*tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    assert radiomics(cohort, *arguments) == 2
    assert message in capsys.readouterr().err
    assert {*tmp_path.iterdir()} == before


def test_radiomics_of_a_manifest_without_masks_and_without_mirp_are_refused(
    cohort, tmp_path, monkeypatch, capsys
):
    table = pd.read_csv(cohort)
    table[table["role"] == "healthy"].to_csv(cohort, index=False)
    assert radiomics(cohort, "--out", tmp_path / "f.csv") == 2
    assert "none of 1 cases is labelled and has a mask" in capsys.readouterr().err
    monkeypatch.setattr(mirp_objects, "find_spec", lambda name: None)
    assert radiomics(cohort, "--out", tmp_path / "f.csv") == 2
    assert "pip install 'semilung[radiomics]'" in capsys.readouterr().err
    assert not (tmp_path / "f_cases").exists()
