"""Files of run and sweep folders that are damaged or mean harm: read or refused."""

import json
import resource
import threading
from contextlib import suppress
from dataclasses import asdict

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semilung.ablation.sweep_folder import SweepFolder
from semilung.cli import main
from semilung.config.schema import data_config
from semilung.data import read_splits
from semilung.files import MAX_YAML, read_json, read_yaml
from semilung.nested import plain
from semilung.report.read_runs import read_study
from semilung.runs import RunFolder, load_run_config
from semilung.training import TrainConfig
from semilung.training.audits.audit import read_audits
from semilung.training.cost import CostMeter, read_cost
from semilung.training.metric_log import MetricsLog
from semilung.types import UserError

CONFIG = yaml.safe_dump(plain(asdict(TrainConfig())), sort_keys=False)
SWEEP = {"axes": {"strategy": ["a"], "seed": ["0"]}, "common": ["x=1"], "split": "val",
         "equal": "steps"}  # fmt: skip
SOUND = {
    "config.yaml": CONFIG,
    "splits.json": json.dumps({"a": {"split": "train", "role": "labelled"}}),
    "cost.json": '{"seconds": 1.0, "steps": 2, "peak_memory_mib": 3.0, "threads": 1}',
    "audits.json": '{"x": {"status": "ok", "summary": "s", "advice": "", "figures": {"f": 1}}}',
    "metrics.csv": "step,name,value\n1,loss,0.5\n2,val/dice,\n",
    "sweep.yaml": yaml.safe_dump(SWEEP),
    "runs/a/row.json": '{"run": "a", "arm": "a", "seed": 0, "split": "val", "dice": 0.5}',
}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def read_all(folder):
    """Everything that reads these files."""
    metrics = folder / "metrics.csv"

    def log():
        MetricsLog(RunFolder(folder), step=1).__exit__(None)

    readers = {
        "config.yaml": lambda: load_run_config(folder),
        "splits.json": lambda: read_splits(folder / "splits.json"),
        "cost.json": lambda: (read_cost(folder / "cost.json").seconds + 1.0,
                              CostMeter(folder / "cost.json").write(1)),
        "audits.json": lambda: [a.metrics.get("step")
                                for a in read_audits(folder / "audits.json").values()],
        "metrics.csv": log,
        "sweep.yaml": lambda: SweepFolder(folder).request(),
        "runs/a/row.json": lambda: SweepFolder(folder).collect(),
    }  # fmt: skip
    assert metrics.exists()
    return readers


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def folder(tmp_path):
    for name, text in SOUND.items():
        write(tmp_path, name, text.encode())
    return tmp_path


def test_the_sound_ones_are_read(folder):
    for read in read_all(folder).values():
        read()
    assert load_run_config(folder) == TrainConfig()


@pytest.mark.parametrize("cases", [25, pytest.param(1500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SOUND)
def test_damaged_files_are_read_or_refused(folder, name, cases):
    raw, read = SOUND[name].encode(), read_all(folder)[name]
    pieces = st.sampled_from([b"\0", b"{", b"[", b"]", b":", b"*a", b"&a ", b"!!python/name:os ",
                              b"\xff", b"\n", b"-", b"1e999", b"nan", b'"', b"null"])  # fmt: skip

    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.integers(0, len(raw)), pieces), min_size=1, max_size=5))
    def check(changes):
        content = raw
        for at, piece in changes:
            content = content[:at] + piece + content[at + 1 :]
        write(folder, name, content)
        with suppress(UserError):
            read()

    check()


@pytest.mark.parametrize("cases", [25, pytest.param(1500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [name for name in SOUND if name != "metrics.csv"])
def test_other_values_are_read_or_refused(folder, name, cases):
    read, whole = read_all(folder)[name], yaml.safe_load(SOUND[name])

    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data):
        values = json.loads(json.dumps(whole))
        owner, key = data.draw(st.sampled_from(list(places(values))))
        owner[key] = data.draw(VALUES)
        dump = json.dumps if name.endswith("json") else yaml.safe_dump
        write(folder, name, dump(values).encode())
        with suppress(UserError):
            read()

    check()


def places(values):
    """Every place within nested values where another value can be put."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in list(items):
        yield values, key
        if isinstance(value, dict | list):
            yield from places(value)


def test_yaml_that_stands_for_gigabytes_or_runs_code(tmp_path):
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)
    )
    deep = "[" * 5000 + "]" * 5000
    code = f"x: !!python/object/apply:pathlib.Path.touch ['{tmp_path / 'touched'}']"
    for text in (bomb, deep, code, "x: " + "y" * MAX_YAML):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
            load_run_config(tmp_path)
    assert not (tmp_path / "touched").exists()
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path / "x.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seed: x", "seed: an integer is wanted, found 'x'"),
        ("seed: true", "seed: an integer is wanted, found True"),
        ("optim: 3", "optim holds settings, not 3"),
        ("optim: {lr: fast}", "optim.lr: a number is wanted, found 'fast'"),
        ("data: {crop: 5}", "data.crop: a list of 3 integers is wanted, found 5"),
        ("data: {crop: [8, 8]}", "data.crop: a list of 3"),
        ("data: {batch: {labelled: x}}", "data.batch: a mapping"),
        ("[1]", "the config holds settings"),
        ("model: unet", "model: a mapping of names to values is wanted, found 'unet'"),
    ],
)
def test_values_of_another_type_are_named(tmp_path, line, message):
    (tmp_path / "config.yaml").write_text(line)
    with pytest.raises(UserError) as error:
        load_run_config(tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize("word", ["crop=[1", "crop=5", "batch=[1]", "crop=*a", "cache=[]"])
def test_settings_that_yaml_cannot_read(word):
    with pytest.raises(UserError, match=r"(crop|batch|cache)"):
        data_config([word])


def test_a_sweep_names_no_run_elsewhere(folder, capsys):
    (folder / "config.yaml").unlink()
    for run in ("../../x", "..", "/etc"):
        (folder / "results.csv").write_text(f"run,arm,seed,split,dice\n{run},a,0,val,0.5\n")
        with pytest.raises(UserError, match="outside the sweep"):
            read_study([folder])
    (folder / "results.csv").write_text("run,arm,dice\na,a,0.5\n")
    with pytest.raises(SystemExit) as stop:
        main(["report", str(folder)])
    assert stop.value.code == 2
    assert "lacks the columns seed, split" in capsys.readouterr().err


def test_lines_of_metrics_that_say_nothing_are_passed_over(folder):
    sound = SOUND["metrics.csv"].splitlines()[1]
    write(folder, "metrics.csv", f"step,name,value\n{sound}\nx,loss,1\n\0,\0,\0\n1,lo".encode())
    MetricsLog(RunFolder(folder), step=1).__exit__(None)
    assert (folder / "metrics.csv").read_text().split() == ["step,name,value", sound]


@pytest.mark.parametrize("content", ["3", "[1]", "null"])
def test_a_row_that_is_none_is_named(folder, content):
    write(folder, "runs/a/row.json", content.encode())
    with pytest.raises(UserError, match=r"row\.json holds no row; delete it"):
        SweepFolder(folder).collect()


def test_full_disk_is_reported_once_by_the_log(folder):
    log = MetricsLog(RunFolder(folder), step=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / "metrics.csv").stat().st_size + 5, hard))
    try:
        with pytest.raises(UserError, match=r"metrics\.csv could not be written"):
            log.scalars(2, {"loss": 0.123456789})
        log.__exit__(UserError)  # what is on its way already is not overlaid
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_thread_that_a_disk_refuses_prints_no_traceback(monkeypatch, capfd):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back at the end
    with pytest.raises(SystemExit):
        main(["--version"])

    def end_with(error):
        def fail():
            raise error

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        return capfd.readouterr().err

    assert end_with(OSError("No space left")) == ""
    assert "a bug" in end_with(ValueError("a bug"))
