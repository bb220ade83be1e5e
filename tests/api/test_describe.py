"""Given nodules of scans, described by a run."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from commands import run as command

from semilung.api.describe import describe
from semilung.api.load import load
from semilung.csv_tables import write_csv
from semilung.data import read_manifest
from semilung.data.cache.prepare import prepare
from semilung.data.io.volume import read_volume
from semilung.tasks import evaluate_cases
from semilung.types import UserError
from semilung.writers.frames import in_frame

NAMES = ["malignancy", "spiculated", "texture"]


@pytest.fixture(scope="module")
def run(described):
    """A run of three tasks that prepares whole scans, as descriptions of given nodules do."""
    run = load(described, settings=["inference.window=null"])
    return replace(
        run, config=replace(run.config, data=replace(run.config.data, crop_to_lungs=False))
    )


@pytest.fixture(scope="module")
def labelled(phantom):
    """Two cases with a mask."""
    return [case for case in read_manifest(phantom) if case.mask and case.nodules][:2]


def rows_of(cases):
    """The nodules of cases as a table of findings."""
    return pd.DataFrame(
        [
            {"seriesuid": case.case, "coordX": -x, "coordY": -y, "coordZ": z, "diameter_mm": mm}
            for case in cases
            for (x, y, z), mm in [(n.centre_mm, n.diameter_mm) for n in case.nodules]
        ]
    )


@pytest.fixture
def table(labelled, tmp_path):
    """File of the nodules of a scan."""
    rows_of(labelled[:1]).to_csv(tmp_path / "findings.csv", index=False)
    return tmp_path / "findings.csv"


@pytest.mark.parametrize("frame", ["lps", "ras"])
def test_describe_findings_of_detection_gives_its_descriptions(run, labelled, tmp_path, frame):
    expected = run.predict(labelled[0].image, min_probability=1e-4).findings.head(4)
    assert len(expected) > 1
    path, out = tmp_path / "findings.csv", tmp_path / "out.csv"
    write_csv(path, in_frame(expected.drop(columns=NAMES), frame))
    text = path.read_text()
    describe(run, path, labelled[0].image, out)
    written = pd.read_csv(out)
    assert [*written] == [*pd.read_csv(path), *NAMES]
    pd.testing.assert_frame_equal(written[NAMES], expected[NAMES], atol=2e-3)
    assert [line.rsplit(",", 3)[0] for line in out.read_text().splitlines()] == text.splitlines()
    assert path.read_text() == text


def test_describe_masks_agrees_with_the_evaluation_of_their_nodules(run, labelled, tmp_path):
    prepared = prepare(labelled, run.config.data, progress=False)
    lesions = evaluate_cases(run.predictor(), prepared, run.tasks).lesions
    scans, masks = [case.image for case in labelled], [case.mask for case in labelled]
    table = describe(run, masks, scans, tmp_path / "out.csv", frame="ras")
    assert len(table) == sum(len(case.nodules) for case in labelled)
    assert set(table["frame"]) == {"RAS"}
    for case in labelled:
        rows = table[table["seriesuid"] == case.case].set_index("label")
        expected = lesions[lesions["case"] == case.case].set_index("instance").loc[rows.index]
        centres = {int(nodule.name): nodule.centre_mm for nodule in case.nodules}
        np.testing.assert_allclose(
            rows[["coordX", "coordY", "coordZ"]], [centres[n] for n in rows.index], atol=0.02
        )
        for name in ("malignancy", "spiculated"):
            np.testing.assert_allclose(rows[name], expected[f"{name}_predicted"], atol=1e-3)
        assert rows["texture"].tolist() == expected["texture_predicted"].tolist()


def test_describe_replaces_only_with_overwrite_and_renames_a_column_of_the_target(
    run, labelled, table, tmp_path
):
    path = table
    scan = labelled[0].image
    pd.read_csv(path).assign(malignancy=5).to_csv(path, index=False)
    text = path.read_text()
    with pytest.raises(UserError, match=r"findings.csv exists already; add --overwrite"):
        describe(run, path, scan, path)
    assert path.read_text() == text
    written = describe(run, path, scan, path, overwrite=True)
    assert (written["malignancy"] == "5").all()
    assert written["malignancy_predicted"].between(1, 5).all()
    with pytest.raises(UserError, match="has a column malignancy_predicted already"):
        describe(run, path, scan, path, overwrite=True)


def test_describe_writes_the_scans_that_do_not_fail(run, labelled, tmp_path, monkeypatch):
    path, scans = tmp_path / "findings.csv", [case.image for case in labelled]
    rows_of(labelled).to_csv(path, index=False)
    broken = scans[:1]

    def read(scan, **options):
        if scan in broken:
            raise UserError(f"{scan}: truncated")
        return read_volume(scan, **options)

    monkeypatch.setattr("semilung.api.describe.read_volume", read)
    with pytest.raises(UserError, match=r"1 of 2 scans could not be predicted:\n.*truncated"):
        describe(run, path, scans, tmp_path / "out.csv")
    written = pd.read_csv(tmp_path / "out.csv")
    assert (written["malignancy"].isna() == (written["seriesuid"] == labelled[0].case)).all()
    broken = scans
    with pytest.raises(UserError, match="2 of 2 scans"):
        describe(run, path, scans, tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda t: t.drop(columns="diameter_mm"), {}, "the column diameter_mm is missing"),
        (lambda t: t.drop(columns="seriesuid"), {}, "the column seriesuid is missing"),
        (lambda t: t.assign(coordZ="high"), {}, "coordZ must be a finite number"),
        (lambda t: t.assign(diameter_mm=0), {}, "diameter_mm must be above 0 mm, got 0 in row 1"),
        (lambda t: t.assign(coordZ=9e4), {}, r"lie outside of the scan when read as LPS\+"),
        (lambda t: t.assign(seriesuid="x"), {}, "1 of its 1 scans were not given, such as x"),
        (lambda t: t.assign(frame="RAS"), {"frame": "lps"}, "column frame says RAS"),
        (lambda t: t.assign(frame="world"), {}, "column frame holds 'world'; write LPS or RAS"),
        (lambda t: pd.concat([t, t.assign(frame="RAS")]), {}, "column frame holds '', 'RAS'"),
        (lambda t: t.head(0), {}, "no row is of a given scan"),
    ],
)
def test_describe_of_an_invalid_table_is_an_error_and_writes_nothing(
    run, labelled, table, tmp_path, change, options, message
):
    path = table
    change(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(UserError, match=message):
        describe(run, path, labelled[0].image, tmp_path / "out.csv", **options)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("frame", ["lps", "ras"])
def test_describe_findings_that_fit_in_the_other_frame_alone_says_so(
    run, labelled, tmp_path, frame
):
    image = nib.load(labelled[0].image)
    affine = image.affine.copy()
    affine[0, 3] += 500
    scan = tmp_path / f"{labelled[0].case}.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), scan)
    rows = rows_of(labelled[:1])
    rows["coordX"] -= 500
    if frame == "lps":
        rows[["coordX", "coordY"]] *= -1
    rows.to_csv(tmp_path / "findings.csv", index=False)
    other = {"lps": "ras", "ras": "lps"}[frame]
    with pytest.raises(UserError, match=rf"they fit as {other.upper()}\+ \(--frame {other}\)"):
        describe(run, tmp_path / "findings.csv", scan, tmp_path / "out.csv", frame=frame)


def test_describe_of_invalid_masks_is_an_error(run, labelled, tmp_path):
    first, second = labelled
    for data, affine, message in (
        (np.zeros((32, 32, 32)), nib.load(first.mask).affine, "the mask holds no nodule"),
        (np.ones((9, 9, 9)), np.eye(4), "is not the image's"),
    ):
        nib.save(nib.Nifti1Image(data.astype(np.uint8), affine), tmp_path / "m.nii.gz")
        with pytest.raises(UserError, match=message):
            describe(run, tmp_path / "m.nii.gz", first.image, tmp_path / "out.csv")
    with pytest.raises(UserError, match="got 1 masks of 2 scans"):
        describe(run, first.mask, [first.image, second.image], tmp_path / "out.csv")
    with pytest.raises(UserError, match="give one table"):
        describe(run, [first.mask, tmp_path / "a.csv"], first.image, tmp_path / "out.csv")


def test_describe_with_a_run_of_other_tasks_is_an_error(trained_both, labelled, table, tmp_path):
    with pytest.raises(UserError, match=r"describes no nodules, .* tasks=characterization"):
        describe(trained_both, table, labelled[0].image, tmp_path / "out.csv")


def test_describe_warns_of_a_scan_without_findings(run, labelled, table, tmp_path):
    with pytest.warns(UserWarning, match=f"has no findings of 1 of 2 scans: {labelled[1].case}"):
        describe(run, table, [case.image for case in labelled], tmp_path / "out.csv")


def test_describe_reads_a_frame_as_json_files_spell_it(run, labelled, table, tmp_path):
    scan = labelled[0].image
    expected = describe(run, table, scan, tmp_path / "a.csv")
    rows_of(labelled[:1]).assign(frame=" LPS+").to_csv(tmp_path / "spelt.csv", index=False)
    spelt = describe(run, tmp_path / "spelt.csv", scan, tmp_path / "b.csv")
    pd.testing.assert_frame_equal(spelt[NAMES], expected[NAMES])


@pytest.mark.parametrize("name", ["scan.nii.gz", "folder.csv"])
def test_describe_refuses_an_out_that_is_no_csv_file(run, labelled, table, tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match="is not the name of a CSV file"):
        describe(run, table, labelled[0].image, tmp_path / name, overwrite=True)


def test_characterize_command_with_a_run_writes_the_table(
    described, labelled, table, tmp_path, capsys
):
    out = tmp_path / "out.csv"
    words = ["characterize", table, "--run", described, "--out", out]
    scan = ["--scan", labelled[0].image]
    for mistake, message in [
        (words, "--scan is missing"),
        ([*words, *scan, "--nodules", table], "--nodules is of a study of features"),
        (["characterize", table, "--out", out, "--frame", "ras"], "--frame is of the description"),
    ]:
        assert command(*mistake) == 2
        assert message in capsys.readouterr().err
        assert not out.exists()
    assert command(*words, *scan) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert pd.read_csv(out)["malignancy"].between(1, 5).all()
