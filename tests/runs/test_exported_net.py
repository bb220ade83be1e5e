"""Exported nets: what they hold, that they predict as their run, and what is refused of them."""

import json
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run as command
from safetensors.torch import load_file, save

import semilung
from semilung.api.export import export
from semilung.runs import load_predictor
from semilung.runs.exported_config import CONFIG
from semilung.runs.exported_net import WEIGHTS, write_export
from semilung.runs.load import prediction_config, read_net
from semilung.training.build import build_learner
from semilung.types import UserError

THRESHOLD = 0.01
"""An untrained net's probability: about half of the voxels are above it."""


@pytest.fixture
def exported(trained, tmp_path):
    return export(trained, tmp_path / "exported", settings=[f"inference.threshold={THRESHOLD}"])


@pytest.fixture(scope="module")
def scan(phantom):
    return sorted((phantom.parent / "images").glob("*.nii.gz"))[0]


def edited(folder, edit):
    """Change the config of an export in place."""
    values = json.loads((folder / CONFIG).read_text())
    edit(values)
    (folder / CONFIG).write_text(json.dumps(values))
    return folder


def with_tensors(folder, edit):
    """Change the tensors of an export, under a hash that is right."""
    tensors = edit(load_file(folder / WEIGHTS))
    content = save(tensors)
    (folder / WEIGHTS).write_bytes(content)
    return edited(folder, lambda values: values.update(sha256=sha256(content).hexdigest()))


def test_export_predicts_bit_for_bit_as_its_run(trained, exported, scan):
    one = semilung.load(trained, settings=[f"inference.threshold={THRESHOLD}"]).predict(scan)
    two = semilung.load(exported).predict(scan)
    assert 0 < one.mask.data.mean() < 1
    assert one.mask.data.tobytes() == two.mask.data.tobytes()
    assert one.probability.data.tobytes() == two.probability.data.tobytes()


def test_export_of_detection_finds_what_its_run_finds(trained_both, scan, tmp_path):
    folder = export(trained_both, tmp_path / "exported")
    one, two = (
        semilung.load(source, tasks=["detection"]).predict(scan, min_probability=1e-4).findings
        for source in (trained_both, folder)
    )
    assert len(one)
    pd.testing.assert_frame_equal(one, two)


def test_predict_command_with_an_export_writes_the_files_of_its_run(trained, scan, tmp_path):
    folder = tmp_path / "shared"
    assert command("export", trained, "--out", folder) == 0
    for run, out in ((trained, "a"), (folder, "b")):
        assert command("predict", scan, "--run", run, "--out", tmp_path / out, "--probability") == 0
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) == 4
    for name in names:
        if name.endswith(".json"):
            continue  # it names the run
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_train_init_from_an_export_starts_with_the_weights_of_its_run(trained, exported, tiny):
    student = build_learner(replace(tiny(), init=str(exported))).student.state_dict()
    weights = load_predictor(trained).state_dict()
    assert student.keys() == weights.keys()
    assert all(torch.equal(student[name], weights[name]) for name in weights)


def test_export_holds_settings_of_prediction_and_no_path_case_or_pickle(exported, phantom):
    assert sorted(path.name for path in exported.iterdir()) == [CONFIG, WEIGHTS]
    content = b"".join(path.read_bytes() for path in exported.iterdir())
    for private in (str(phantom.parent), "phantom_0", "manifest", "/home", "/tmp"):
        assert private.encode() not in content
    values = json.loads((exported / CONFIG).read_text())
    assert values["inference"]["threshold"] == THRESHOLD
    assert values["data"]["clip_hu"] == [-1024, 2000]
    assert values["provenance"] == {
        "run": "tiny", "checkpoint": "last", "net": "teacher.net", "steps": 4
    }  # fmt: skip


def test_export_half_takes_half_the_size_and_predicts_nearly_the_same(trained, scan, tmp_path):
    full, half = (export(trained, tmp_path / str(h), half=h) for h in (False, True))
    sizes = [sum(v.nbytes for v in load_file(f / WEIGHTS).values()) for f in (full, half)]
    assert sizes[0] == 2 * sizes[1]
    one, two = (semilung.load(folder).predict(scan).probability.data for folder in (full, half))
    np.testing.assert_allclose(one, two, atol=1e-3)
    assert not np.array_equal(one, two)


def test_export_of_an_export_is_equal(exported, tmp_path):
    again = export(exported, tmp_path / "again")
    for name in (CONFIG, WEIGHTS):
        assert (again / name).read_bytes() == (exported / name).read_bytes()


def test_load_averages_an_export_with_a_run(trained, exported, scan):
    mean = semilung.load(trained, exported).predict(scan).probability.data
    np.testing.assert_allclose(
        mean, semilung.load(trained).predict(scan).probability.data, atol=1e-6
    )


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v.update(format=2), "no export of format 1"),
        (lambda v: v.pop("model"), "lacks model"),
        (lambda v: v["inference"].pop("threshold"), r"lacks inference\.threshold"),
        (lambda v: v["data"].pop("clip_hu"), r"lacks data\.clip_hu"),
        (lambda v: v.update(code="x"), "unknown settings: code"),
        (lambda v: v["data"].update(manifest="/etc/passwd"), r"unknown settings: data\.manifest"),
        (lambda v: v["provenance"].update(patient="x"), r"no setting provenance\.patient"),
        (lambda v: v["inference"].update(threshold=2), "out of range"),
        (lambda v: v["inference"].update(threshold="0.5"), "a number is wanted"),
        (lambda v: v["model"].update(_target_="os.system"), "names no code"),
        (lambda v: v["model"].update(name="reversible_uneet"), "unknown model"),
        (lambda v: v["model"].update(widths=[4, 8, 8]), "of another shape"),
        (lambda v: v["model"].update(widths=[4, 2**30]), "out of range"),
        (lambda v: v["model"].update(depth=200), "do not fit the model"),
        (lambda v: v.update(heads={"more": 2}), "do not fit the model"),
        (lambda v: v.update(heads={"more": 10**9}), "do not fit the model"),
        (lambda v: v.update(heads={"more": [2, 10**9]}), "do not fit the model"),
        (lambda v: v.update(heads={"more": [2, 0]}), "at stride 0|do not fit the model"),
        (lambda v: v.update(heads={"more": [2, -2]}), "at stride -2|do not fit the model"),
        (lambda v: v.update(heads={"more": [2, 2, 2]}), "a mapping of names"),
        (lambda v: v.update(sha256="0" * 64), "is not what was exported"),
        (
            lambda v: v.update(packages={"yourlab": "1.0"}, model={"name": "yournet"}),
            "yournet is of a package that is not installed here, one of yourlab 1.0; install it",
        ),
        (lambda v: v.update(model=[]), "mapping"),
        (lambda v: v.update(model={}), "do not fit the model"),
        (lambda v: v.update(tasks={"nothing": {}}), "unknown task"),
    ],
)
def test_export_with_an_edited_config_is_refused(exported, scan, edit, message):
    edited(exported, edit)
    with pytest.raises(UserError, match=message):
        semilung.load(exported).predict(scan)


def test_export_with_swapped_lacking_added_or_reshaped_tensors_is_refused(exported):
    def changed(edit):
        with_tensors(exported, edit)
        with pytest.raises(UserError, match="of another shape"):
            semilung.load(exported)

    first, second = "backbone.stem.weight", "backbone.stem.bias"
    changed(lambda t: t | {first: t[second].clone(), second: t[first].clone()})
    changed(lambda t: {n: v for n, v in t.items() if n not in (first, "more")})
    changed(lambda t: t | {"more": torch.zeros(2)})


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-5],
        lambda raw: raw[:20],
        lambda raw: b"",
        lambda raw: raw + b"x",
        lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
        lambda raw: b"\xff" * 8 + raw[8:],
    ],
)
def test_export_with_damaged_weights_is_refused_in_one_line(exported, damage, capsys):
    content = damage((exported / WEIGHTS).read_bytes())
    (exported / WEIGHTS).write_bytes(content)
    assert command("export", exported, "--out", exported.parent / "b") == 2
    error = capsys.readouterr().err
    assert "is not what was exported" in error
    assert "Traceback" not in error
    edited(exported, lambda values: values.update(sha256=sha256(content).hexdigest()))
    if damage(b"x" * 100) != b"x" * 99 + b"y":  # a flipped bit is found by the hash alone
        with pytest.raises(UserError, match="not what was exported"):
            semilung.load(exported)


@pytest.mark.parametrize("path", ["/home/me/net.pt", "~/net.pt", r"C:\net.pt", "file:///net"])
def test_export_refuses_an_option_that_is_a_path_of_this_machine(trained, tmp_path, path):
    net = read_net(trained)
    net = replace(net, model={**net.model, "pretrained": ["a", path]})
    with pytest.raises(UserError, match=r"model\.pretrained=.* is a path of this machine"):
        write_export(net, prediction_config(trained), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_export_beyond_float16_is_refused(exported, tmp_path):
    with_tensors(exported, lambda t: {n: v * 1e9 for n, v in t.items()})
    with pytest.raises(UserError, match="beyond the range of float16"):
        export(exported, tmp_path / "half", half=True)
    assert not (tmp_path / "half").exists()


def test_load_of_another_checkpoint_than_the_exported_one_is_refused(exported):
    with pytest.raises(UserError, match="is an export of the checkpoint last"):
        semilung.load(exported, checkpoint="best")


def test_evaluate_of_an_export_says_what_it_lacks(exported):
    with pytest.raises(UserError, match="knows no cases"):
        semilung.evaluate(exported)


def test_export_never_half_writes_over_an_older_one(trained, exported, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="add --overwrite"):
        export(trained, exported)
    with pytest.raises(UserError, match="folder of a run"):
        export(exported, trained, overwrite=True)
    assert export(trained, exported, overwrite=True) == exported
    values = json.loads((exported / CONFIG).read_text())
    assert values["inference"]["threshold"] == 0.5
