"""A strategy of another package, found by its entry point, passes the kit and trains."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

PACKAGE = Path(__file__).parent / "third_party"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """The environment of a process that sees the package, installed with its entry points."""
    site = tmp_path_factory.mktemp("site")
    source = shutil.copytree(PACKAGE, tmp_path_factory.mktemp("source") / "yourlab")
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", site]
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, source], check=True)
    return {**os.environ, "PYTHONPATH": str(site)}


@pytest.mark.slow
def test_its_strategy_passes_the_kit_and_its_parts_are_known_by_name(installed):
    code = """
from contextlib import suppress
from semilung.cli import main
from semilung.models import build_model
from semilung.testing import check_strategy
check_strategy("sure")
check_strategy(["sure", "mean_teacher"])
build_model("yournet", {"width": 8})
for kind in ("tasks", "strategies"):
    with suppress(SystemExit):
        main(["list", kind])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, env=installed, capture_output=True, text=True)
    assert done.stdout.count("\nmean_hu") == 2


@pytest.mark.slow
def test_registered_name_of_another_package_is_refused_with_its_name(installed, tmp_path):
    site = shutil.copytree(installed["PYTHONPATH"], tmp_path / "site")
    module = next(site.rglob("sure.py"))
    module.write_text(module.read_text().replace('"sure"', '"mean_teacher"'))
    command = [sys.executable, "-m", "semilung", "list", "strategies"]
    environment = {**installed, "PYTHONPATH": str(site)}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "yourlab.sure of yourlab, which brings a strategy, fails" in done.stderr
    assert "'mean_teacher' is registered twice" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_trains_with_a_config_of_its_own(installed, phantom, tmp_path):
    overrides = [
        "trainer=debug",  # options and settings in any order
        "--config-dir",
        str(PACKAGE / "configs"),
        "strategy=[mean_teacher,sure]",
        "trainer.accelerator=cpu",
        f"data.manifest={phantom}",
        "data.spacing_mm=[4,4,4]",
        "data.crop=[16,16,16]",
        "model.widths=[4,8]",
        "run_name=run",
    ]
    command = [sys.executable, "-m", "semilung", "train", *overrides]
    subprocess.run(command, check=True, env=installed, cwd=tmp_path, capture_output=True)
    logged = pd.read_csv(tmp_path / "runs/run/metrics.csv").set_index("name")["value"]
    assert (logged["terms/sure/entropy"] > 0).all()
    assert set(logged["weights/sure/entropy"]) == {0.2}
