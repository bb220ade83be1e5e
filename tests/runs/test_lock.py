"""One training at a time in a run's folder; what a killed one left does not block the next."""

import errno
import fcntl
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from threading import Thread

import pytest
from killed_runs import kill, start, wait_for
from tiny_settings import TINY

from semilung.cli import main
from semilung.runs import lock
from semilung.runs.checkpoint import load_checkpoint
from semilung.runs.lock import hold
from semilung.training import train
from semilung.types import UserError

LONG = {"max_steps": 100_000, "validate_every": 0, "checkpoint_every": 1}


def holder(process):
    host = re.escape(socket.gethostname())
    return rf"is being trained by process {process} on {host} since 20\d\d-\d\d-\d\d \d\d:\d\d"


@pytest.fixture
def elsewhere(monkeypatch):
    """Locks that only their own machine sees, and a folder of another machine."""
    monkeypatch.setattr(lock, "RENEWAL_S", 0.2)

    def sign(folder):
        folder.mkdir(exist_ok=True)
        text = '{"host": "other", "process": 7, "since": "2026-01-01 12:00 UTC"}'
        (folder / lock.NAME).write_text(text)
        return folder / lock.NAME

    return sign


def test_run_that_still_trains_refuses_others_until_it_is_killed(phantom, tiny, tmp_path, capfd):
    run = tmp_path / "run"
    training = start(tiny(**LONG), run)
    try:
        wait_for(run / "last.pt", training)
        again = [f"data.manifest={phantom}", *TINY, f"runs_dir={tmp_path}", "run_name=run"]
        for words in (again, [f"resume={run}"]):
            with pytest.raises(SystemExit) as stop:
                main(["train", *words])
            assert stop.value.code == 2
            assert re.search(holder(training.pid), capfd.readouterr().err)
    finally:
        kill(training)
    assert (run / lock.NAME).exists()
    done = load_checkpoint(run / "last.pt")["step"]
    train(tiny(**LONG | {"max_steps": done + 1}), run, resume=True)
    assert load_checkpoint(run / "last.pt")["step"] == done + 1
    assert not (run / lock.NAME).exists()


@pytest.mark.slow
def test_run_of_two_processes_refuses_others(phantom, tmp_path):
    command = [
        sys.executable, "-m", "semilung", "train", f"data.manifest={phantom}", *TINY,
        f"runs_dir={tmp_path}", "run_name=run", "trainer.devices=2", "trainer.max_steps=100000",
        "trainer.checkpoint_every=1",
    ]  # fmt: skip
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not (tmp_path / "run/last.pt").exists():
            assert first.poll() is None
            time.sleep(0.05)
        second = subprocess.run(command, capture_output=True, text=True)
        assert second.returncode == 2
        assert second.stderr.count("is being trained by process") == 1
        assert "Traceback" not in second.stderr
    finally:
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=60) == 75
    assert not (tmp_path / "run" / lock.NAME).exists()


def test_folder_is_held_once_in_one_process(tmp_path):
    with hold(tmp_path / "a/run"):
        with pytest.raises(UserError, match=holder(os.getpid())), hold(tmp_path / "a/../a/run"):
            pass
        with hold(tmp_path / "other"):
            pass
    with hold(tmp_path / "a/run"):
        pass
    assert list(tmp_path.iterdir()) == []  # what was made for nothing is gone


def test_loader_process_that_outlives_a_training_does_not_hold_its_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    with hold(tmp_path / "run"):
        loader = context.Process(target=time.sleep, args=(60,))
        loader.start()
    try:
        child = context.Process(target=hold_and_end, args=(tmp_path / "run",))
        child.start()
        child.join()
        assert child.exitcode == 0
    finally:
        kill(loader)


def hold_and_end(folder):
    with hold(folder):
        pass


def test_lock_file_of_a_dead_process_of_this_machine_blocks_no_other(tmp_path):
    child = multiprocessing.get_context("fork").Process(target=hold_and_die, args=(tmp_path,))
    child.start()
    child.join()
    assert f'"process": {child.pid}' in (tmp_path / lock.NAME).read_text()
    began = time.monotonic()
    with hold(tmp_path):
        assert time.monotonic() - began < 1


def hold_and_die(folder):
    with hold(folder):
        os.kill(os.getpid(), signal.SIGKILL)


def test_holder_on_another_machine_is_known_by_its_renewals(tmp_path, elsewhere):
    file = elsewhere(tmp_path / "run")
    renewing = Thread(target=lambda: [time.sleep(0.3), os.utime(file)])
    renewing.start()
    with pytest.raises(UserError, match="process 7 on other since 2026-01-01"), hold(file.parent):
        pass
    renewing.join()
    with hold(file.parent):  # no sign of life any more
        assert '"host": "other"' not in file.read_text()


def test_file_system_without_locks_goes_by_renewals(tmp_path, elsewhere, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with hold(tmp_path / "run"):
        with monkeypatch.context() as patch:
            patch.setattr(lock, "_held", {})  # as in another process
            with pytest.raises(UserError, match=holder(os.getpid())), hold(tmp_path / "run"):
                pass
        assert (tmp_path / "run" / lock.NAME).exists()


def test_two_that_start_at_once_without_locks_train_one_alone(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.setattr(lock, "SETTLING_S", 0.5)
    context = multiprocessing.get_context("fork")
    barrier, outcomes = context.Barrier(2), context.Queue()
    is_named = lock._is_named

    def both_found_it_free(file, path):
        barrier.wait(timeout=30)
        return is_named(file, path)

    def start_one():
        try:
            with hold(tmp_path / "run"):
                outcomes.put("trained")
                time.sleep(2)
        except UserError as error:
            outcomes.put(str(error))

    monkeypatch.setattr(lock, "_is_named", both_found_it_free)
    children = [context.Process(target=start_one) for _ in range(2)]
    for child in children:
        child.start()
    refused, trained = sorted(outcomes.get(timeout=30) for _ in children)
    for child in children:
        child.join()
    assert trained == "trained"
    assert "is being trained by process" in refused
    assert not (tmp_path / "run" / lock.NAME).exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"host": "\\u001b[2J", "process": 1, "since": ""}']
)
def test_damaged_lock_file_blocks_no_process(tmp_path, text):
    (tmp_path / lock.NAME).write_text(text)
    with hold(tmp_path):
        pass
