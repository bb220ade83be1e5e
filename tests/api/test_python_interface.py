"""The functions of `import semilung`, from training to the files of a prediction."""

import subprocess
import sys

import numpy as np
import pytest
from tiny_settings import TINY

import semilung
from semilung.api.anatomy import anatomy
from semilung.api.check import check
from semilung.api.list import KINDS, list_markdown, list_names
from semilung.api.phantom import phantom
from semilung.api.report import report
from semilung.data.io.volume import read_volume
from semilung.types import UserError


@pytest.fixture(scope="module")
def run(phantom, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    words = [*TINY, f"data.manifest={phantom}", f"runs_dir={runs}", "run_name=r"]
    outcome = semilung.train(words)
    assert (outcome.run, outcome.finished) == (runs / "r", True)
    return outcome.run


@pytest.fixture
def scan(phantom):
    return sorted((phantom.parent / "images").glob("*.nii.gz"))[0]


def test_import_semilung_imports_no_torch():
    code = (
        "import sys, semilung; assert 'torch' not in sys.modules; "
        "assert {'load', 'train', 'evaluate', 'predict', 'ablate'} <= set(dir(semilung)); "
        "semilung.load; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_semilung_unknown_attribute_raises_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'prdict'"):
        semilung.prdict  # noqa: B018
    assert not hasattr(semilung, "__wrapped__")


def test_load_predict_returns_mask_and_probability_on_the_scans_grid(run, scan):
    prediction = semilung.load(run).predict(str(scan))
    source = read_volume(scan)
    for volume in (prediction.mask, prediction.probability):
        assert volume.shape == source.shape
        np.testing.assert_allclose(volume.affine, source.affine, atol=1e-5)
    assert (prediction.mask.data.dtype, prediction.probability.data.dtype) == ("uint8", "float32")
    assert 0 <= prediction.probability.data.min() <= prediction.probability.data.max() <= 1


def test_load_predict_threshold_zero_marks_what_is_above_it(run, scan):
    prediction = semilung.load(run).predict(scan, threshold=0.0)
    assert (prediction.mask.data == (prediction.probability.data > 0)).mean() > 0.9


def test_prediction_write_writes_the_files_of_the_predict_command(run, scan, tmp_path):
    loaded = semilung.load(run)
    written = loaded.predict(scan).write(tmp_path / "one")
    others = semilung.predict(loaded, scan, tmp_path / "two", probability=True)
    assert [path.name for path in written] == [path.name for path in others]
    kinds = ["nodules.nii.gz", "findings.csv", "findings.json", "probability.nii.gz"]
    assert [path.name.rpartition("_")[2] for path in written] == kinds
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(written, others, strict=True))


def test_prediction_findings_are_the_components_of_its_mask(run, scan):
    prediction = semilung.load(run).predict(scan, threshold=0.01)
    volume_mm3 = prediction.mask.data.sum() * np.prod(prediction.mask.spacing_mm)
    assert prediction.findings["volume_mm3"].sum() == pytest.approx(volume_mm3, rel=1e-3)
    assert volume_mm3 > 0
    assert set(prediction.findings["seriesuid"]) == {scan.name.removesuffix(".nii.gz")}


def test_prediction_write_refuses_to_replace_a_mask_without_overwrite(run, scan, tmp_path):
    prediction = semilung.load(run).predict(scan)
    files = prediction.write(tmp_path, probability=False)
    with pytest.raises(UserError, match="add --overwrite"):
        prediction.write(tmp_path)
    assert prediction.write(tmp_path, probability=False, overwrite=True) == files


def test_load_several_runs_averages_their_probabilities(run, scan):
    one = semilung.load(run).predict(scan)
    for several in (semilung.load([run, str(run)]), semilung.load(run, run)):
        assert len(several.models) == 2
        twice = several.predict(scan)
        np.testing.assert_allclose(one.probability.data, twice.probability.data, atol=1e-6)


@pytest.mark.parametrize("function", [semilung.load, semilung.evaluate, report])
@pytest.mark.parametrize(
    ("runs", "message"), [((), "is an empty list; give a path"), ("none", "none")]
)
def test_function_of_runs_without_a_run_raises_user_error(function, runs, message):
    with pytest.raises(UserError, match=message):
        function(runs)


def test_predict_takes_a_loaded_run_and_refuses_no_scan(run, scan, tmp_path):
    written, *_ = semilung.predict(semilung.load(run), scan, tmp_path)
    assert read_volume(written).shape == read_volume(scan).shape
    with pytest.raises(UserError, match="scans is an empty list"):
        semilung.predict(run, [], tmp_path)


def test_phantom_check_and_anatomy_from_python_read_one_cohort(tmp_path):
    manifest = phantom(str(tmp_path / "p"), scans=8, size=32, spacing_mm=4)
    assert check(str(manifest)).check.errors == []
    outcome = anatomy(str(manifest), out=str(tmp_path / "a"), overwrite=True)
    assert (outcome.written, outcome.failures) == (8, [])
    assert outcome.manifest.parent == manifest.parent
    with pytest.raises(UserError, match="lungs is one of classical, lungmask, got 'mask'"):
        anatomy(manifest, lungs="mask")


@pytest.mark.parametrize("kind", KINDS)
def test_list_names_are_those_of_the_markdown_page(kind):
    page = list_markdown(kind)
    names = [entry.name for entry in list_names(kind)]
    assert len(names) >= 1
    assert all(f"`{name}`" in page for name in names)
    with pytest.raises(UserError, match=r"kind is one of tasks, strategies, .*, settings"):
        list_names("strategy")


def test_evaluate_returns_the_summary_and_writes_tables(run):
    evaluation = semilung.evaluate(run, split="val", settings=["inference.overlap=0.25"])
    assert evaluation.folder == run / "evaluation-val-last-overlap_0.25"
    assert {"metric", "mean"} <= set(evaluation.summary.columns)
    assert (evaluation.folder / "cases.csv").is_file()


def test_train_resume_continues_the_run(run):
    outcome = semilung.train([f"resume={run}", "trainer.max_steps=5"])
    assert (outcome.run, outcome.steps, outcome.finished) == (run, 5, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "train"}, "split is one of None, val, test, got 'train'"),
        ({"checkpoint": "../a/last"}, "checkpoint is one of last, best"),
        ({"threshold": "vla"}, "threshold is a number"),
    ],
)
def test_evaluate_with_an_unknown_choice_names_the_argument(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        semilung.evaluate(tmp_path, **options)
