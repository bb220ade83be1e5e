"""Trainings in processes of their own, which may be killed; forked from one that has torch."""

import multiprocessing
import os
import time
from io import BytesIO
from pathlib import Path

import torch

from semilung.runs import checkpoint
from semilung.training import TrainConfig, train

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["semilung.training"])

WINDOWS = ("half", "flushed", "renamed")
"""Moments of writing a checkpoint: half its bytes are there; all, without its name; with it."""


def start(config: TrainConfig, folder: Path, window: str = "", count: int = 0):
    """A process that begins or goes on with a run; at a window of checkpoint `count` it hangs."""
    process = CONTEXT.Process(target=_train, args=(config, folder, window, count))
    process.start()
    return process


def hung(folder: Path) -> Path:
    """What appears when the process hangs."""
    return folder.with_suffix(".hung")


def wait_for(path: Path, process) -> None:
    """Wait until a file appears."""
    while not path.exists():
        assert process.is_alive(), f"the process ended with {process.exitcode}"
        time.sleep(0.005)


def kill(process) -> None:
    """SIGKILL, in cold blood."""
    process.kill()
    process.join()


def _train(config: TrainConfig, folder: Path, window: str, count: int) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    torch.set_num_threads(1)
    if window:
        _hang(window, count, folder)
    train(config, folder, resume=(folder / "config.yaml").exists())


def _hang(window: str, count: int, folder: Path) -> None:
    """Let the writing of the run's `last.pt` stop for ever half-way."""
    counter = iter(range(1, 1000))

    def hang(path: Path) -> None:
        if path.name.startswith((".last.pt", "last.pt")) and next(counter) == count:
            hung(folder).touch()
            time.sleep(600)

    save, fsync, replace = torch.save, os.fsync, Path.replace

    def half(state, file):
        whole = BytesIO()
        save(state, whole)
        file.write(whole.getvalue()[: whole.tell() // 2])
        file.flush()
        hang(Path(file.name))
        file.write(whole.getvalue()[whole.tell() // 2 :])

    def flushed(descriptor):
        fsync(descriptor)
        hang(Path(f"/proc/self/fd/{descriptor}").readlink())

    def renamed(self, target):
        replace(self, target)
        hang(Path(target))

    patches = {
        "half": (checkpoint.torch, "save", half),
        "flushed": (checkpoint.os, "fsync", flushed),
        "renamed": (Path, "replace", renamed),
    }
    setattr(*patches[window])
