"""`semilung train` and `semilung ablate`, which speak Hydra."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from semilung.cli.say import fail, say
from semilung.types import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

TRY_AGAIN = 75
"""Exit code of a training that was told to stop and has saved: EX_TEMPFAIL of sysexits.h. A batch
script requeues its job on it."""

ABLATE = """\
Train every combination of the swept settings, judge all runs on the same cases, keep the table.

  semilung ablate strategy=mean_teacher,'[mean_teacher,mil]' seed=0,1,2 data.labelled=8,16

Any setting of `semilung train` may be swept; strategies.X.* concerns the arms that hold X. The arm
`supervised`, and where there is a healthy stream the same without it, are always among them.

  split=val|test           what runs are judged on; val unless asked
  equal=steps|compute      what arms get the same of
  baselines=false          only the strategies that are named
  sweep_dir=DIR            default: sweeps/<strategies>-<hash of what all runs share>
  hydra/launcher=parallel  side by side (extra `parallel`); slurm, slurm_local (extra `cluster`);
                           each run then says what it does in its own log.txt, and has one thread
                           or as many as its job has processors (trainer.threads=N)
  --config-dir DIR         further configs, of strategies from elsewhere

The same command goes on where it was interrupted and repeats nothing that is finished; with more
values along an axis, it adds what is missing. A run that fails stops no other and is tried again
at the next call. Exit code 0: every run has its row; 1: some failed; 2: a mistake, before anything
has run; 130: interrupted; 75: told to stop by SIGTERM or SIGUSR1, to be tried again."""


def train_command(overrides: list[str]) -> None:
    """`semilung train` with the words that follow it."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from semilung.config import model_words, register_schema, told_by_hydra
    from semilung.training import launcher_words, one_voice

    register_schema()
    overrides = model_words(overrides)
    sys.argv = ["semilung train", *sorted(overrides, key=_is_setting), *launcher_words(overrides)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hands errors on instead of printing them in its own way
    wrapped = hydra.main(
        config_path="pkg://semilung.configs", config_name="train", version_base="1.3"
    )(_run_training)
    try:
        with one_voice():
            wrapped()
    except (HydraException, OmegaConfBaseException) as error:
        hint = "`semilung train --cfg job` shows every setting"
        raise UserError(f"{told_by_hydra(error)}\n{hint}") from error


def _is_setting(word: str) -> bool:
    """Whether a word is Hydra's to set; options, which Hydra wants together, are put before."""
    return not word.startswith("-") and ("=" in word or word.startswith("~"))


def _run_training(composed: DictConfig) -> None:
    from semilung.training import HeardError

    try:
        _train_composed(composed)
    except HeardError:
        sys.exit(2)  # the process that found it tells of it
    except UserError as error:  # here, for Hydra would tell of it in its own way
        fail(str(error))


def _train_composed(composed: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from semilung.config import (
        load_run_config,
        resumed,
        run_name,
        to_command,
        to_training,
        with_absolute_paths,
    )
    from semilung.training import train

    command = to_command(composed)
    config = to_training(command)
    if command.resume in (None, "auto"):
        config = with_absolute_paths(config, None)
        folder = Path(command.runs_dir) / (command.run_name or run_name(config))
        begun = command.resume == "auto" and (folder / "config.yaml").exists()
        saved = load_run_config(folder) if begun else None
    else:
        folder = Path(command.resume)
        saved = load_run_config(folder)
        config = with_absolute_paths(config, saved.data.manifest)
    if saved is not None:
        own = ("resume", "runs_dir", "run_name")
        task = HydraConfig.get().overrides.task
        words = [o for o in task if o.partition("=")[0] not in own]
        config = resumed(saved, config, words)
    outcome = train(config, folder, resume=saved is not None)
    if not outcome.finished:
        say(f"stopped at step {outcome.steps}; go on with: semilung train resume={folder}")
        sys.exit(stopped_by(KeyboardInterrupt(outcome.asked)))
    say(f"trained {outcome.steps} steps: {folder}\njudge it with: semilung evaluate {folder}")


def stopped_by(stop: KeyboardInterrupt) -> int:
    """The exit code after a signal, whose number it holds: a cluster's is to be tried again."""
    return 130 if stop.args in ((), (signal.SIGINT,)) else TRY_AGAIN


def _halves(word: str) -> list[str]:
    """`--config-dir=DIR` as the two words that it may be, too."""
    return word.split("=", 1) if word.startswith("--config-dir=") else [word]


def ablate_command(words: list[str]) -> None:
    """`semilung ablate` with the words that follow it."""
    from semilung.ablation import FailedRunsError, ablate

    config_dir = None
    words = [part for word in words for part in _halves(word)]
    if "--config-dir" in words:
        at = words.index("--config-dir")
        if at + 1 == len(words):
            raise UserError("--config-dir wants a folder")
        config_dir = Path(words[at + 1])
        del words[at : at + 2]
    # a shell's background jobs ignore Ctrl-C; a training does not, nor does what lies between two
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        folder = ablate(words, config_dir=config_dir)
    except FailedRunsError as error:
        fail(str(error), 1)
    except KeyboardInterrupt as stop:
        fail("interrupted; the same command goes on from here", stopped_by(stop))
    say(f"results: {folder / 'results.csv'}\nreport: semilung report {folder}")
