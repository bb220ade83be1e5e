"""The wheel brings its configs and works from any folder."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A new environment with the wheel alone installed, which sees the present packages."""
    folder = tmp_path_factory.mktemp("wheel")
    # Of a copy: two workers of pytest would build in one folder at the same time.
    source = folder / "source"
    left = shutil.ignore_patterns(".*", "build", "*.egg-info", "experiments", "tests", "demo")
    shutil.copytree(ROOT, source, ignore=left)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "env"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", wheel]
    subprocess.run(install, check=True)
    (site,) = (environment / "lib").glob("python*/site-packages")
    # A line in a .pth file adds a folder, but not that folder's own .pth files: the checkout's
    # editable install stays unseen.
    (site / "present.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_train_composes_its_config_from_another_folder(installed, tmp_path):
    command = [installed.parent / "semilung", "train", "strategy=mean_teacher", "--cfg", "job"]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "mean_teacher:" in out
    assert "max_steps:" in out
    assert list(tmp_path.iterdir()) == []


def test_the_wheel_is_what_runs(installed, tmp_path):
    command = [installed, "-c", "import semilung, semilung.configs; print(semilung.__file__)"]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert str(installed.parents[1]) in out


def test_the_wheel_brings_the_page_of_a_report(installed, tmp_path):
    code = (
        "from importlib.resources import files; "
        "print(*(p.name for p in files('semilung.report').joinpath('page_files').iterdir()))"
    )
    command = [installed, "-c", code]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert {"page.html.j2", "page.css"} <= set(out.split())


PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([0-9.]+)\S*( ; \S+ == \S+)? \\$", re.M)


def pinned() -> dict[str, str]:
    """Package to version of the lock files."""
    texts = [path.read_text() for path in sorted(ROOT.glob("requirements*.lock"))]
    return {name.lower(): version for text in texts for name, version, _ in PINNED.findall(text)}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-cpu.lock"])
def test_lock_file_pins_every_package_by_hash(name):
    lines = [line for line in (ROOT / name).read_text().splitlines() if line[:1] not in "# "]
    assert lines
    assert all(PINNED.match(line) for line in lines)


def test_lower_bounds_are_the_versions_that_the_tests_run_with():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = [Requirement(text) for text in project["dependencies"]]
    lock = pinned()
    for requirement in bounds:
        (low,) = (s.version for s in requirement.specifier if s.operator == ">=")
        if requirement.name != "hydra-core":  # 1.3.2 is the oldest one tried
            assert lock[requirement.name].startswith(low), requirement
