"""Config folders, words and run folders that set Hydra itself are refused, and nothing runs."""

import pytest
import yaml
from tiny_settings import TINY

from semilung.cli import main
from semilung.config.compose import Composer
from semilung.types import UserError

COMMANDS = {"train": [], "ablate": ["strategy=supervised"]}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder of its own, in which a hostile file would leave `pwned`."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def shell(folder):
    return f"touch {folder / 'work/pwned'}"


def hostile(folder):
    """File name to content, of configs that would run a shell command or move outputs."""
    call = {"_target_": "os.system", "command": shell(folder)}
    handler = {"()": "os.system", "command": shell(folder)}
    logging = {"version": 1, "root": {"handlers": ["x"]}, "handlers": {"x": handler}}
    of_root = {
        "callbacks": {"hydra": {"callbacks": {"x": call}}},
        "job_logging": {"hydra": {"job_logging": logging}},
        "launcher": {"hydra": {"launcher": call}},
        "run_dir": {"hydra": {"run": {"dir": "elsewhere"}, "output_subdir": "x"}},
        "env": {"hydra": {"job": {"chdir": True, "env_set": {"PATH": "."}}}},
        "searchpath": {"hydra": {"searchpath": ["file:///tmp"]}},
        "override": {"defaults": [{"override /hydra/launcher": "evil"}]},
        "logging_of_file": {"defaults": [{"override /hydra/job_logging": "evil"}]},
        "added": {"defaults": [{"/hydra/callbacks": "evil"}]},
        "relocated": {"defaults": [{"/hydra/callbacks@hydra.sweeper": "evil"}]},
        "target": {"model": call},
        "nested_target": {"strategies": {"supervised": {"base": [call]}}},
        "environment": {"init": "${oc.env:HOME}"},
        "hidden_environment": {"init": "${oc.decode:'${oc.env:HOME}'}"},
    }
    files = {f"experiment/{k}.yaml": f"# @package _global_\n{dump(v)}" for k, v in of_root.items()}
    files["experiment/package.yaml"] = f"# @package hydra.callbacks\n{dump({'x': call})}"
    files["experiment/root_package.yaml"] = f"# @package hydra\n{dump({'callbacks': {'x': call}})}"
    files["hydra/callbacks/evil.yaml"] = dump({"x": call})
    files["hydra/job_logging/evil.yaml"] = dump(logging)
    files["hydra/launcher/evil.yaml"] = dump(call)
    for name, text in files.items():
        path = folder / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "configs"


def dump(values):
    return yaml.safe_dump(values)


NAMES = [
    *("callbacks", "job_logging", "launcher", "run_dir", "env", "searchpath", "override", "added"),
    *("logging_of_file", "relocated", "package", "root_package", "target", "nested_target"),
    *("environment", "hidden_environment"),
]


def refused(capsys, *words):
    """The message of a command that ends with code 2 and leaves nothing behind."""
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    output = capsys.readouterr()
    assert stop.value.code == 2, output.err
    assert "Traceback" not in output.err
    return output.err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", NAMES)
def test_config_dir_that_sets_hydra_is_refused(folder, phantom, capsys, command, name):
    words = [*COMMANDS[command], f"data.manifest={phantom}", "--config-dir", hostile(folder)]
    message = refused(capsys, command, *words, f"experiment={name}")
    assert "hydra" in message or "_target_" in message or "oc.env:HOME" in message
    assert list((folder / "work").iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "word",
    [
        *("hydra.run.dir=x", "hydra.output_subdir=x", "hydra.job.chdir=true", "~hydra"),
        *("+hydra.job.env_set.A=b", "++hydra.callbacks.x._target_=os.system", "hydra={}"),
        *("hydra.searchpath=[/tmp]", "hydra/job_logging=default", "hydra/launcher=evil"),
        *("hydra.launcher._target_=os.system", "+hydra.launcher.setup=[ls]"),
        *("hydra/launcher@x=slurm",),
        *("strategy@hydra.callbacks=mil", "+hydra/callbacks=evil", "init=${oc.env:HOME}"),
        *("hydra.launcher.comment=${oc.env:HOME}", "hydra.launcher.submitit_folder=/tmp/x"),
        *("+model._target_=os.system", "--config-name=x", "--config-path=x", "--multirun"),
        *("--experimental-rerun=x.pickle", "hydra/launcher=submitit_local"),
    ],
)  # fmt: skip
def test_words_that_set_hydra_are_refused(folder, phantom, capsys, command, word):
    words = [*COMMANDS[command], f"data.manifest={phantom}", "--config-dir", hostile(folder)]
    message = refused(capsys, command, *words, word)
    assert word.partition("=")[0].lstrip("+") in message or "oc.env" in message
    assert list((folder / "work").iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("group", ["experiment", "trainer"])
@pytest.mark.parametrize(
    ("key", "value"),
    [("runs_dir", "elsewhere"), ("resume", "auto"), ("resume", "a/run"), ("runs_dir", "${init}")],
)
def test_config_file_that_sets_where_runs_are_kept_is_refused(
    folder, phantom, capsys, command, group, key, value
):
    path = folder / "configs" / group / "theirs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\n{dump({key: value})}")
    words = [*COMMANDS[command], *TINY, f"data.manifest={phantom}", f"{group}=theirs"]
    message = refused(capsys, command, *words, "--config-dir", folder / "configs")
    assert f"a config file sets {key}={value!r}" in message
    assert "command line" in message
    assert list((folder / "work").iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_run_folder_that_sets_hydra_is_refused(folder, capsys, command):
    run, scan = folder / "run", folder / "scan.nii"
    run.mkdir()
    scan.touch()
    for key in ("hydra: {callbacks: {x: {_target_: os.system}}}", "model: {name: {_target_: x}}"):
        (run / "config.yaml").write_text(key)
        more = [scan, "--out", "out", "--run"] if command == "predict" else []
        assert "a config names no code" in refused(capsys, command, *more, run)


@pytest.mark.parametrize("command", COMMANDS)
def test_harmless_config_dir_is_read(folder, phantom, command):
    experiment = folder / "configs/experiment/lab.yaml"
    experiment.parent.mkdir(parents=True)
    content = {"optim": {"lr": 0.5}, "trainer": {"max_steps": 1, "validate_every": 0}}
    experiment.write_text(f"# @package _global_\n{dump(content)}")
    words = [*COMMANDS[command], *TINY, f"data.manifest={phantom}", "baselines=false"]
    words = [*words[:-1], "run_name=r"] if command == "train" else [*words, "sweep_dir=runs"]
    words = [word for word in words if word != "trainer=debug"]
    with pytest.raises(SystemExit) as stop:
        main([command, *words, "experiment=lab", f"--config-dir={folder / 'configs'}"])
    assert stop.value.code == 0
    [config] = (folder / "work/runs").rglob("config.yaml")
    assert yaml.safe_load(config.read_text())["optim"]["lr"] == 0.5
    assert [path.name for path in (folder / "work").iterdir()] == ["runs"]


@pytest.mark.parametrize("command", COMMANDS)
def test_yaml_that_expands_without_end_is_refused(folder, phantom, capsys, command):
    bomb = folder / "configs/experiment/bomb.yaml"
    bomb.parent.mkdir(parents=True)
    lines = [
        "a0: &a0 [x]",
        *(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 9)),
    ]
    bomb.write_text("\n".join(lines))
    words = [*COMMANDS[command], f"data.manifest={phantom}", "experiment=bomb"]
    message = refused(capsys, command, *words, "--config-dir", folder / "configs")
    assert "aliases" in message
    assert list((folder / "work").iterdir()) == []


def test_schema_of_a_config_dir_is_refused(folder):
    (folder / "configs").mkdir()
    (folder / "configs/schema.yaml").write_text("seed: a word")
    with pytest.raises(UserError, match="rename the file"):
        Composer(folder / "configs")


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["hydra.launcher.n_jobs=4"], "hydra/launcher=parallel"),
        (["hydra/launcher=slurm", "hydra.launcher.verbose=1"], "semilung[cluster]"),
    ],
)
def test_launcher_without_a_setting_is_answered_with_the_remedy(
    folder, phantom, capsys, words, remedy
):
    message = refused(capsys, "ablate", "strategy=supervised", f"data.manifest={phantom}", *words)
    assert remedy in message
    assert "run code" not in message


def test_launcher_settings_of_the_documentation_are_taken():
    from semilung.ablation.launchers import read_launcher
    from semilung.ablation.sweep_request import read_request
    from semilung.config.hydra_adapter import open_launchers

    words = ["strategy=supervised", "hydra/launcher=parallel", "hydra.launcher.n_jobs=3"]
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    with open_launchers("test", "pkg://semilung.configs") as session:
        config = read_launcher(session, read_request(words), "/x").hydra
    assert config.launcher.n_jobs == 3
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words[1:] = ["hydra/launcher=slurm", "hydra.launcher.partition=gpu"]
    words += ["hydra.launcher.gpus_per_node=2", "hydra.launcher.max_num_timeout=5"]
    with open_launchers("test", "pkg://semilung.configs") as session:
        config = read_launcher(session, read_request(words), "/x").hydra
    assert (config.launcher.partition, config.launcher.gpus_per_node) == ("gpu", 2)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("trainer.max_steps=abc", "an integer is wanted, found 'abc'"),
        ("trainer.max_steps=1.5", "an integer is wanted, found '1.5'"),
        ("optim.lr=fast", "a number is wanted, found 'fast'"),
        ("trainer.channels_last=maybe", "true or false is wanted, found 'maybe'"),
        ("data.crop=5", "a list of 3 integers is wanted, found '5'"),
        ("data.crop=[a,b,c]", "a list of 3 integers is wanted, found '[a,b,c]'"),
        ("data.batch.labelled=x", "an integer is wanted, found 'x'"),
        ("data.batch=3", "a mapping of names to integers is wanted, found '3'"),
        ("data.spacing_mm=x", "a list of 3 numbers or null is wanted, found 'x'"),
        ("seed=null", "an integer is wanted, found 'null'"),
        ("data.manifest=[1]", "a text or null is wanted, found '[1]'"),
    ],
)
def test_composer_value_of_another_type_names_the_setting_and_its_type(word, wanted):
    with pytest.raises(UserError) as error:
        Composer().command([word])
    assert str(error.value) == f"{word.partition('=')[0]}: {wanted}"


def test_composer_file_with_a_value_of_another_type_is_named(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ntrainer:\n  max_steps: abc\n"
    (tmp_path / "experiment/mine.yaml").write_text(text)
    with pytest.raises(UserError, match=r"mine: trainer\.max_steps: an integer .*found 'abc'"):
        Composer(tmp_path).command(["experiment=mine"])
