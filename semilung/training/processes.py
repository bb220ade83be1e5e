"""The processes of a training: started by torchrun, by srun, or by this process.

Each process trains on one device. One that we start has the variables that torchrun would have set,
so the training itself does not depend on who started it.
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

from semilung.signals import StopRequest, ignore_interrupts
from semilung.training.ranks import ReportedError
from semilung.types import UserError

T = TypeVar("T")

GRACE_S = 10.0
"""Seconds for the other processes to end by themselves when one has failed."""


@dataclass(frozen=True)
class Launched:
    """The launcher of this process.

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
        """Return the environment from which Fabric reads ranks and addresses.

        Raises:
            RuntimeError: Slurm has started tasks in a way that Fabric does not support.
        """
        if self.by == "torchrun":
            return TorchElasticEnvironment()
        return SLURMEnvironment(auto_requeue=False) if self.by == "srun" else LightningEnvironment()


def launched() -> Launched:
    """Return the launcher of this process, from its environment.

    A Slurm job of a single task is no launcher: it may start processes of its own.
    """
    variables = os.environ
    if TorchElasticEnvironment.detect():
        processes = int(variables["WORLD_SIZE"])
        nodes = processes // int(variables["LOCAL_WORLD_SIZE"])
        return Launched("torchrun", processes, nodes, int(variables["RANK"]))
    tasks = int(variables.get("SLURM_STEP_NUM_TASKS", "1"))  # set by srun, and not by sbatch alone
    if tasks > 1:
        nodes = int(variables.get("SLURM_STEP_NUM_NODES", "1"))
        return Launched("srun", tasks, nodes, int(variables["SLURM_PROCID"]))
    return Launched()


def launcher_settings(overrides: Sequence[str]) -> list[str]:
    """Return the number of processes that a launcher has started, as a setting.

    Raises:
        UserError: The settings name another number.
    """
    launcher = launched()
    if launcher.by == "us":
        return []
    word = f"trainer.devices={launcher.processes}"
    other = [o for o in overrides if o.startswith("trainer.devices=") and o != word]
    if other:
        raise UserError(
            f"{other[0]}, but {launcher.by} started {launcher.processes} processes; leave "
            f"trainer.devices out, it follows the launcher"
        )
    return [word]


@contextmanager
def first_rank_output() -> Iterator[None]:
    """Let only the first process print and warn within the block."""
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
    """Run `work(*arguments)` in `count` processes of this machine; return the first one's result.

    One process is this one, and so is one that a launcher has started among others. If one fails,
    all end. Signals that stop a training are forwarded to all; those of the terminal reach this
    process alone.

    Args:
        count: Processes.
        work: A function of a module, for it is pickled, as are its arguments and its result, which
            holds no tensors: their memory would end with the process.
        arguments: Its arguments.

    Raises:
        UserError: The error of a process, raised once; or one was killed.
        KeyboardInterrupt: It was interrupted before anything could be saved, or twice.
    """
    if count == 1 or launched().by != "us":
        return work(*arguments)
    if count > (most := 8 * (os.cpu_count() or 1)):
        raise UserError(f"trainer.devices={count} is more than {most} processes; give fewer")
    results: Any = get_context("spawn").SimpleQueue()
    shared = (count, find_free_network_port(), warnings.formatwarning, results, work, arguments)
    with ignore_interrupts():  # in a child that is not yet in a group of its own, too
        children = start_processes(_work, shared, count, join=False)  # type: ignore[no-untyped-call]

    def forward(number: int) -> None:
        # submitit's signal has no handler there
        _send(children.processes, number if number == signal.SIGINT else signal.SIGTERM)

    failure: Exception | None = None
    with StopRequest(forward) as stop:
        try:
            while not children.join(grace_period=GRACE_S):
                pass
        except (ProcessExitedException, ProcessRaisedException) as error:
            failure = error
        finally:
            _send(children.processes, signal.SIGKILL)  # none is left, except at an interrupt
    return cast(T, _result(results, failure, stop.number))


def _work(
    rank: int,
    count: int,
    port: int,
    formatwarning: Any,
    results: Any,
    work: Callable[..., Any],
    arguments: Sequence[Any],
) -> None:
    """Run `work` in one of the processes, with the variables that torchrun would have set."""
    os.setpgrp()  # a Ctrl-C of the terminal does not reach it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(number) for name, number in numbers.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0"}
    os.environ["TORCHELASTIC_RUN_ID"] = "semilung"
    warnings.formatwarning = formatwarning
    with first_rank_output():
        try:
            result = work(*arguments)
        except ReportedError:
            sys.exit(2)  # the process that has failed reports why
        except UserError as error:
            results.put(error)
            sys.exit(2)
    if rank == 0:
        results.put(result)


def _send(processes: Sequence[Any], number: int) -> None:
    """Send a signal to the processes that are left; SIGKILL to all that they have started too."""
    for process in processes:
        if process.is_alive():
            if number == signal.SIGKILL:
                with suppress(ProcessLookupError):  # it may not lead its group yet
                    os.killpg(process.pid, number)
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)


def _result(results: Any, failure: Exception | None, stopped_by: int) -> Any:
    """Return the result of the processes, or raise why there is none."""
    if not results.empty():
        result = results.get()
        if isinstance(result, UserError):
            raise result
        return result
    if stopped_by:  # before there was anything to save
        raise KeyboardInterrupt(stopped_by)
    if isinstance(failure, ProcessExitedException) and failure.signal_name:
        raise UserError(
            f"process {failure.error_index} of the training was ended by {failure.signal_name}, "
            f"perhaps for want of memory; the last checkpoint is untouched"
        )
    raise failure or RuntimeError("the processes of the training ended without a result")
