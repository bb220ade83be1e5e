from __future__ import annotations

import os
import signal
import time
import warnings

import pytest

from semilung.jobs import run_jobs
from semilung.types import UserError


def work(item):
    folder, number, what = item
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "fail":
        raise UserError("it cannot be")
    if what == "meet":  # ends only where another job is at work at the same time
        (folder / f"here{number}").touch()
        until = time.monotonic() + 20
        while len(list(folder.glob("here*"))) < 2:
            assert time.monotonic() < until, "no other worker is running"
            time.sleep(0.01)
    (folder / f"done{number}").touch()


def jobs(folder, *whats):
    return [(f"j{i}", (folder, i, what)) for i, what in enumerate(whats)]


def test_run_jobs_run_in_parallel(tmp_path):
    assert run_jobs(work, jobs(tmp_path, "meet", "meet"), title="", processes=2) == {}
    assert len(list(tmp_path.glob("done*"))) == 2


def test_run_jobs_worker_death_is_reported_and_stops_no_other_job(tmp_path):
    whats = ["", "die", "", "fail", *[""] * 12, "die", "", ""]
    failed = run_jobs(work, jobs(tmp_path, *whats), title="", progress=False, processes=2)
    assert set(failed) == {"j1", "j3", "j16"}
    assert "died" in failed["j1"]
    assert failed["j3"] == "it cannot be"
    assert {p.name for p in tmp_path.glob("done*")} == {
        f"done{i}" for i, what in enumerate(whats) if not what
    }


def warn(item):
    warnings.warn(f"look at {item}", stacklevel=2)


@pytest.mark.parametrize("processes", [0, 2])
def test_run_jobs_issues_the_warnings_of_its_work(processes):
    with pytest.warns(UserWarning, match="look at") as given:
        run_jobs(warn, [("a", 1), ("b", 2)], title="", progress=False, processes=processes)
    assert sorted(str(each.message) for each in given) == ["look at 1", "look at 2"]
