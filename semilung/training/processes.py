"""Where the processes of a training come from: torchrun, srun, or this process, which starts them.

Each process trains on one device. One that we start finds the variables that torchrun would have
set, so there is one way into a training whoever started it.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import (
    LightningEnvironment,
    find_free_network_port,
)
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.multiprocessing.spawn import (
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)

from semilung.training.interrupt import Interrupt
from semilung.training.ranks import HeardError
from semilung.types import UserError

T = TypeVar("T")

GRACE_S = 10.0
"""Seconds for the other processes to end by themselves when one has failed."""


@dataclass(frozen=True)
class Launched:
    """What started this process.

    Attributes:
        by: `torchrun`, `srun`, or `us`, where a process is the only one.
        processes: On all machines together.
        nodes: Machines.
        rank: Of this process among all.
    """

    by: Literal["torchrun", "srun", "us"] = "us"
    processes: int = 1
    nodes: int = 1
    rank: int = 0

    def environment(self) -> ClusterEnvironment:
        """How Fabric learns ranks and addresses.

        Raises:
            RuntimeError: Slurm was asked for tasks in a way that Fabric does not understand.
        """
        if self.by == "torchrun":
            return TorchElasticEnvironment()
        return SLURMEnvironment(auto_requeue=False) if self.by == "srun" else LightningEnvironment()


def launched() -> Launched:
    """Who started this process, from its environment.

    A Slurm job of a single task is no launcher: it may start processes of its own.
    """
    known = os.environ
    if TorchElasticEnvironment.detect():
        processes = int(known["WORLD_SIZE"])
        nodes = processes // int(known["LOCAL_WORLD_SIZE"])
        return Launched("torchrun", processes, nodes, int(known["RANK"]))
    tasks = int(known.get("SLURM_STEP_NUM_TASKS", "1"))  # srun's own; sbatch alone sets it not
    if tasks > 1:
        nodes = int(known.get("SLURM_STEP_NUM_NODES", "1"))
        return Launched("srun", tasks, nodes, int(known["SLURM_PROCID"]))
    return Launched()


def launcher_words(overrides: Sequence[str]) -> list[str]:
    """The number of processes that a launcher has started, as an override of the command line.

    Raises:
        UserError: The overrides ask for another number.
    """
    found = launched()
    if found.by == "us":
        return []
    word = f"trainer.devices={found.processes}"
    other = [o for o in overrides if o.startswith("trainer.devices=") and o != word]
    if other:
        msg = f"{other[0]}, but {found.by} started {found.processes} processes"
        raise UserError(f"{msg}; leave trainer.devices out, it follows the launcher")
    return [word]


@contextmanager
def one_voice() -> Iterator[None]:
    """All processes but the first are silent: nothing on standard output, no warnings."""
    if launched().rank == 0:
        yield
        return
    with (
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def in_processes(count: int, work: Callable[..., T], *arguments: Any) -> T:
    """`work(*arguments)` in `count` processes of this machine; what the first one returns.

    One process is this one, and so is one that a launcher has started among others. If one fails,
    all end. Signals that ask a training to stop are handed on to all; those of the terminal reach
    this process alone.

    Args:
        count: Processes.
        work: A function of a module, for it is pickled, as are its arguments and its result, which
            holds no tensors: their memory would end with the process.
        arguments: Its arguments.

    Raises:
        UserError: What a process found that the user can mend, told once; or one was killed.
        KeyboardInterrupt: It was interrupted before anything could be saved, or twice.
    """
    if count == 1 or launched().by != "us":
        return work(*arguments)
    if count > (most := 8 * (os.cpu_count() or 1)):
        msg = f"trainer.devices={count} asks this machine for more processes than {most}; give less"
        raise UserError(msg)
    told: Any = get_context("spawn").SimpleQueue()
    shared = (count, find_free_network_port(), warnings.formatwarning, told, work, arguments)
    # The terminal's Ctrl-C is this process's to hand on, also before a child is in its own group.
    hear_again = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        children = start_processes(_work, shared, count, join=False)  # type: ignore[no-untyped-call]
    finally:
        signal.signal(signal.SIGINT, hear_again)

    def hand_on(number: int) -> None:
        # nobody listens to submitit's signal there
        _send(children.processes, number if number == signal.SIGINT else signal.SIGTERM)

    failure: Exception | None = None
    with Interrupt(hand_on) as interrupt:
        try:
            while not children.join(grace_period=GRACE_S):
                pass
        except (ProcessExitedException, ProcessRaisedException) as error:
            failure = error
        finally:
            _send(children.processes, signal.SIGKILL)  # there is nobody left, save at an interrupt
    return cast(T, _result(told, failure, interrupt.asked))


def _work(
    rank: int,
    count: int,
    port: int,
    formatwarning: Any,
    told: Any,
    work: Callable[..., Any],
    arguments: Sequence[Any],
) -> None:
    """One of the processes: `work`, with what torchrun would have set."""
    os.setpgrp()  # a Ctrl-C of the terminal does not reach it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(number) for name, number in numbers.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0"}
    os.environ["TORCHELASTIC_RUN_ID"] = "semilung"
    warnings.formatwarning = formatwarning
    with one_voice():
        try:
            result = work(*arguments)
        except HeardError:
            sys.exit(2)  # the process that found it tells of it
        except UserError as error:
            told.put(error)
            sys.exit(2)
    if rank == 0:
        told.put(result)


def _send(processes: Sequence[Any], number: int) -> None:
    """A signal to the processes that are left; a deadly one to all that they have started too."""
    for process in processes:
        if process.is_alive():
            if number == signal.SIGKILL:
                with suppress(ProcessLookupError):  # it may not lead its group yet
                    os.killpg(process.pid, number)
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)


def _result(told: Any, failure: Exception | None, asked: int) -> Any:
    """What the processes said, or why they say nothing."""
    if not told.empty():
        said = told.get()
        if isinstance(said, UserError):
            raise said
        return said
    if asked:  # before there was anything to save
        raise KeyboardInterrupt(asked)
    if isinstance(failure, ProcessExitedException) and failure.signal_name:
        msg = f"process {failure.error_index} of the training was ended by {failure.signal_name}"
        raise UserError(f"{msg}, perhaps for want of memory; the last checkpoint is untouched")
    raise failure or RuntimeError("the processes of the training ended without a result")
