"""Stopping by signals, as clusters do it, and going on by the same command."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest
from same_bits import same
from tiny_settings import TINY

from semilung.cli import main
from semilung.runs.checkpoint import load_checkpoint
from semilung.signals import StopRequest, interrupt_on_signals
from semilung.training import loop, train


def kill_at_step(monkeypatch, step, number):
    """Send this process a signal in the midst of a step."""
    optimize = loop._optimize

    def optimize_then(training, batch):
        figures = optimize(training, batch)
        if training.step + 1 == step:
            os.kill(os.getpid(), number)
        return figures

    monkeypatch.setattr(loop, "_optimize", optimize_then)


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main(["train", *words])
    return stop.value.code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_the_same_command_goes_on_after_a_preemption(phantom, tmp_path, monkeypatch, number):
    words = [f"data.manifest={phantom}", *TINY, "trainer.max_steps=5", f"runs_dir={tmp_path}"]
    kill_at_step(monkeypatch, 3, number)
    assert run(*words, "run_name=cut", "resume=auto") == 75
    assert load_checkpoint(tmp_path / "cut/last.pt")["step"] == 3
    monkeypatch.undo()
    assert run(*words, "run_name=cut", "resume=auto") == 0
    assert run(*words, "run_name=whole") == 0
    assert same(*(load_checkpoint(tmp_path / n / "last.pt") for n in ("cut", "whole")))
    assert run(*words, "run_name=cut", "resume=auto") == 0  # nothing is left to do
    assert run(*words, "run_name=cut", "resume=auto", "optim.lr=0.5") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_preemption_while_scans_are_prepared_is_tried_again(
    phantom, tmp_path, monkeypatch, number
):
    monkeypatch.setattr(loop, "set_up", lambda *_, **__: signal.raise_signal(number))
    words = [f"data.manifest={phantom}", *TINY, f"runs_dir={tmp_path}", "run_name=cut"]
    before = signal.getsignal(number)
    assert run(*words, "resume=auto") == 75
    assert signal.getsignal(number) is before
    assert not (tmp_path / "cut").exists()


def test_a_process_that_was_forked_ends_by_the_signal():
    with interrupt_on_signals():
        child = os.fork()
        if not child:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_all_signals_ask_for_the_same_and_submitit_hears_its_own_at_the_end():
    heard = []
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
    signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    try:
        with StopRequest() as interrupt:
            for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
                os.kill(os.getpid(), number)
            assert interrupt.number == signal.SIGUSR2
            assert heard == []
        assert heard == [signal.SIGUSR2]
        os.kill(os.getpid(), signal.SIGUSR2)
        assert heard == [signal.SIGUSR2] * 2
    finally:
        signal.signal(signal.SIGUSR2, before[signal.SIGUSR2])
    assert {n: signal.getsignal(n) for n in before} == before


def test_a_second_ctrl_c_breaks_off():
    with StopRequest():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


LONG = ["trainer.max_steps=100000", "trainer.log_every=1", "trainer.checkpoint_every=100000"]


def begin(phantom, folder, *words, launcher=(), **variables):
    command = [
        sys.executable, *launcher, "-m", "semilung", "train", f"data.manifest={phantom}", *TINY,
        *LONG, f"runs_dir={folder}", "run_name=run", *words,
    ]  # fmt: skip
    environment = os.environ | {k: str(v) for k, v in variables.items()}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def wait_for_step(folder, step, *processes):
    metrics = Path(folder) / "run/metrics.csv"
    while not (metrics.exists() and f"\n{step},loss" in metrics.read_text()):
        for process in processes:
            assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def ended(process):
    """Its output and exit code; nobody that it has started is left."""
    text = process.communicate(timeout=300)[0]
    return text, process.returncode


def alive(pids):
    """Those that are still there after a moment."""
    until = time.monotonic() + 5
    while time.monotonic() < until and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.05)
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def descendants(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [*found, *(below for child in found for below in descendants(child))]


def stopped_step(text, folder):
    """The step at which one voice says that it stopped, and the checkpoint's."""
    (step,) = re.findall(r"stopped at step (\d+)", text)
    assert load_checkpoint(folder / "run/last.pt")["step"] == int(step)
    return int(step)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [(signal.SIGTERM, 75, 0), (signal.SIGUSR1, 75, 1), (signal.SIGINT, 130, 1)],
)
def test_two_processes_save_once_and_end(phantom, tmp_path, number, code, workers):
    run = begin(phantom, tmp_path, "trainer.devices=2", f"data.workers={workers}")
    wait_for_step(tmp_path, 1, run)
    started = descendants(run.pid)
    assert len(started) >= 2 + 2 * workers
    run.send_signal(number)
    text, returned = ended(run)
    assert returned == code, text
    assert stopped_step(text, tmp_path) >= 1
    assert "Traceback" not in text
    assert alive(started) == []
    assert text.count("stopping after this step") == 1


@pytest.mark.slow
def test_torchrun_is_honoured(phantom, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    run = begin(phantom, tmp_path, "data.workers=1", launcher=launcher)
    wait_for_step(tmp_path, 3, run)
    run.send_signal(signal.SIGTERM)  # torchrun hands it on to whole groups, workers included
    text, _ = ended(run)
    step = stopped_step(text, tmp_path)
    assert "devices: 2" in (tmp_path / "run/config.yaml").read_text()
    assert "exited unexpectedly" not in text  # no worker was lost
    again = [sys.executable, *launcher, "-m", "semilung", "train", f"resume={tmp_path / 'run'}"]
    config = (tmp_path / "run/config.yaml").read_text()
    (tmp_path / "run/config.yaml").write_text(config.replace("100000", str(step + 2)))
    subprocess.run(again, check=True, capture_output=True)
    assert load_checkpoint(tmp_path / "run/last.pt")["step"] == step + 2


@pytest.mark.slow
def test_a_mistake_under_torchrun_is_reported_and_ends_all(phantom, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = ["strategy=adversarial", "strategies.adversarial.layers=5"]
    run = begin(phantom, tmp_path, *words, launcher=launcher)
    text, code = ended(run)
    assert code != 0
    assert text.count("semilung: a discriminator of 5 layers needs crops of") == 1
    assert "exitcode  : 2" in text


@pytest.mark.slow
def test_two_machines_of_slurm(phantom, tmp_path):
    """As srun would start them on two machines, here both this one."""
    job = {
        "SLURM_JOB_ID": os.getpid(), "SLURM_JOB_NAME": "test", "SLURM_NNODES": 2,
        "SLURM_NTASKS": 2, "SLURM_NTASKS_PER_NODE": 1, "SLURM_STEP_NUM_TASKS": 2,
        "SLURM_STEP_NUM_NODES": 2, "SLURM_NODELIST": "localhost", "SLURM_LOCALID": 0,
    }  # fmt: skip
    tasks = [
        begin(phantom, tmp_path, **job, SLURM_PROCID=rank, SLURM_NODEID=rank) for rank in (0, 1)
    ]
    wait_for_step(tmp_path, 3, *tasks)
    tasks[1].send_signal(signal.SIGUSR1)  # one that hears of it tells the other
    (first, code), (second, other) = (ended(task) for task in tasks)
    assert (code, other) == (75, 75), first + second
    stopped_step(first, tmp_path)
    assert second == ""


@pytest.mark.slow
def test_a_mistake_of_two_processes_is_reported_once(phantom, tmp_path):
    words = ["strategy=adversarial", "strategies.adversarial.layers=5", "trainer.devices=2"]
    text, code = ended(begin(phantom, tmp_path, *words))
    assert code == 2
    assert text.count("a discriminator of 5 layers needs crops of") == 1
    assert "Traceback" not in text


@pytest.mark.slow
def test_submitit_hears_its_signal_after_two_processes_have_saved(tiny, tmp_path):
    heard = []

    def requeue(number, frame):
        heard.append(load_checkpoint(tmp_path / "run/last.pt")["step"])

    def signal_at_step_1():
        wait_for_step(tmp_path, 1)
        os.kill(os.getpid(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        Thread(target=signal_at_step_1).start()
        config = tiny(max_steps=100_000, validate_every=0, checkpoint_every=100_000, devices=2)
        outcome = train(config, tmp_path / "run")
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert not outcome.finished
    assert heard == [outcome.steps]


def test_library_calls_go_on_too(tiny, tmp_path, monkeypatch):
    kill_at_step(monkeypatch, 2, signal.SIGTERM)
    outcome = train(tiny(), tmp_path / "run")
    assert (outcome.finished, outcome.steps, outcome.signal) == (False, 2, signal.SIGTERM)
