"""A Dask cluster of which workers are lost."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from distributed import LocalCluster

from semilung.files import DiskFullError
from semilung.jobs import run_jobs
from semilung.types import UserError


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a scheduler with three worker processes."""
    with LocalCluster(
        n_workers=3,
        threads_per_worker=1,
        dashboard_address=None,
        local_directory=str(tmp_path_factory.mktemp("dask")),
        silence_logs=50,
    ) as cluster:
        cluster.scheduler.allowed_failures = 1  # a job that ends two workers is given up
        yield cluster.scheduler_address


def log(item):
    """Note the worker and the end of a job; the one that meets `lose` loses its worker once."""
    folder, number, what = item
    if (folder / f"file{number}").exists():
        return
    with (folder / "begun").open("a") as file:
        file.write(f"{number}\n")
    if what == "lose" and not (folder / "lost").exists():
        (folder / "lost").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "fail":
        raise UserError("it cannot be")
    if what == "full":
        raise DiskFullError("no space is left")
    time.sleep(0.02)
    with (folder / "done").open("a") as file:
        file.write(f"{number}\n")
    (folder / f"file{number}").touch()


def jobs(folder, *whats):
    return [(f"j{i}", (folder, i, what)) for i, what in enumerate(whats)]


def run(work_jobs, scheduler):
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
    return run_jobs(log, work_jobs, title="", progress=False, scheduler=scheduler)


def numbers(file):
    return sorted(map(int, file.read_text().split()))


def test_run_on_dask_lost_worker_repeats_its_jobs_alone(cluster, tmp_path):
    whats = ["", "lose", "fail", *[""] * 40]
    failed = run(jobs(tmp_path, *whats), cluster)
    assert failed == {"j2": "it cannot be"}
    assert numbers(tmp_path / "done") == [i for i in range(43) if i != 2]  # each one once
    assert (tmp_path / "lost").exists()
    assert numbers(tmp_path / "begun").count(1) == 2


def test_run_on_dask_job_that_ends_every_worker_is_reported(cluster, tmp_path):
    failed = run(jobs(tmp_path, "", "die", *[""] * 8), cluster)
    assert list(failed) == ["j1"]
    assert "died" in failed["j1"]
    assert numbers(tmp_path / "done") == [0, *range(2, 10)]


def test_run_on_dask_full_disk_stops_the_work(cluster, tmp_path):
    with pytest.raises(DiskFullError):
        run(jobs(tmp_path, "full", *[""] * 400), cluster)
    assert len(numbers(tmp_path / "begun")) < 400


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere", "tcp://nowhere.invalid:8786"])
def test_run_on_dask_address_without_scheduler_is_refused_at_once(address):
    with pytest.raises(UserError, match=f"no Dask scheduler answers at '{address}'.*local"):
        run_jobs(len, [("a", [])], title="", progress=False, scheduler=address)


def test_run_on_dask_without_the_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"semilung\[dask\]"):
        run_jobs(len, [("a", [])], title="", progress=False, scheduler="local")
