"""What started a process, by its environment."""

import sys

import pytest

from semilung.training import first_rank_output, launcher_settings
from semilung.training.processes import launched
from semilung.training.setup import _fabric
from semilung.types import UserError

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3"}
SRUN = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "5"}


@pytest.fixture
def environment(monkeypatch):
    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)

    def put(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ("us", 1, 1, 0)),
        (TORCHRUN, ("torchrun", 4, 2, 3)),
        (SRUN, ("srun", 8, 2, 5)),
        (SRUN | TORCHRUN, ("torchrun", 4, 2, 3)),  # torchrun within a job
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, ("us", 1, 1, 0)),  # a batch script, no srun
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, ("us", 1, 1, 0)),
    ],
)
def test_launchers_are_recognised_by_their_variables(environment, variables, expected):
    environment(variables)
    found = launched()
    assert (found.by, found.processes, found.nodes, found.rank) == expected


def test_the_command_line_follows_the_launcher(environment):
    assert launcher_settings(["trainer.devices=2"]) == []
    environment(TORCHRUN)
    assert launcher_settings(["seed=1", "trainer.devices=4"]) == ["trainer.devices=4"]
    with pytest.raises(UserError, match=r"devices=2, but torchrun started 4 processes"):
        launcher_settings(["trainer.devices=2"])


def test_a_training_of_another_number_of_processes_is_refused(environment, tiny):
    environment(TORCHRUN)
    with pytest.raises(UserError, match=r"devices is 1, and torchrun started 4 processes"):
        _fabric(tiny().trainer)


def test_one_process_runs_in_a_batch_script_of_several_tasks(environment, monkeypatch, tiny):
    monkeypatch.setenv("SLURM_NTASKS", "2")  # without SLURM_NTASKS_PER_NODE, which Fabric refuses
    assert _fabric(tiny().trainer).world_size == 1


def test_only_the_first_process_speaks(environment, capsys):
    for rank in ("0", "1"):
        environment(TORCHRUN | {"RANK": rank})
        with first_rank_output():
            sys.stdout.write(f"rank {rank}\n")
    assert capsys.readouterr().out == "rank 0\n"
