"""`semilung train` and `semilung ablate`, which speak Hydra."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from semilung.cli.messages import fail, say
from semilung.cli.parser import Parser

if TYPE_CHECKING:
    from semilung.config.schema import CommandConfig

TRAIN = """\
Train one strategy, or several at once.

  semilung train strategy=mean_teacher data.manifest=manifest.csv seed=0
  semilung train resume=runs/NAME                         # go on
  semilung train resume=runs/NAME trainer.max_steps=2000  # longer than planned"""

TRY_AGAIN = 75
"""Exit code of a training that was told to stop and has saved: EX_TEMPFAIL of sysexits.h. A batch
script requeues its job on it."""

ABLATE = """\
Train every combination of the swept settings, evaluate all runs on the same
cases, keep the table.

  semilung ablate strategy=mean_teacher,'[mean_teacher,mil]' seed=0,1,2

Any setting of `semilung train` may be swept, as data.labelled=8,16;
strategies.X.* concerns the arms that hold X. The arm `supervised`, and where
there is a healthy stream the same without it, are always among them.

  split=val|test           what runs are evaluated on; val unless asked
  equal=steps|compute      what arms get the same of
  baselines=false          only the strategies that are named
  sweep_dir=DIR            default: sweeps/<strategies>-<hash of the rest>
  hydra/launcher=parallel  side by side (extra `parallel`); slurm, slurm_local
                           (extra `cluster`); each run then writes what it does
                           to its own log.txt, and has one thread or as many as
                           its job has processors (trainer.threads=N)

The same command goes on where it was interrupted and repeats nothing that is
finished; with more values along an axis, it adds what is missing. A run that
fails stops no other and is tried again at the next call. Exit code 0: every run
has its row; 1: some failed; 2: a mistake, before anything has run; 130:
interrupted; 75: told to stop by SIGTERM or SIGUSR1, to be tried again."""


def train_command(words: list[str]) -> None:
    """`semilung train` with the words that follow it."""
    from semilung.config.compose import Composer
    from semilung.training import HeardError, launcher_words, one_voice

    asked = _train_parser(_settings_help(words)).parse_intermixed_args(words)
    composer = Composer(asked.config_dir)
    overrides = [*asked.settings, *launcher_words(asked.settings)]
    if asked.cfg:
        say(composer.yaml(overrides))
        return
    try:
        with one_voice():
            _train(composer.command(overrides), overrides)
    except HeardError:
        sys.exit(2)  # the process that found it tells of it


def _settings_help(words: list[str]) -> str:
    """What `--help` says of the settings, which takes torch's import."""
    if not {"-h", "--help"} & set(words):
        return ""
    from semilung.config.settings_table import settings_help

    width = shutil.get_terminal_size().columns
    more = "Defaults and ranges: docs/settings.md, or semilung list settings --markdown"
    return f"settings:\n{settings_help(width)}\n\n{more}"


def _train_parser(epilog: str) -> Parser:
    parser = Parser(
        prog="semilung train",
        description=TRAIN,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="optim.lr=1e-3 ...")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="further configs, of "
                        "strategies from elsewhere")  # fmt: skip
    parser.add_argument("--cfg", choices=["job"], help="print the composed config and train not")
    return parser


def _train(command: CommandConfig, settings: list[str]) -> None:
    from semilung.config.schema import (
        load_run_config,
        resumed,
        run_folder,
        run_name,
        to_training,
        with_absolute_paths,
    )
    from semilung.training import train

    config = to_training(command)
    if command.resume in (None, "auto"):
        config = with_absolute_paths(config, None)
        folder = run_folder(command, command.run_name or run_name(config))
        begun = command.resume == "auto" and (folder / "config.yaml").exists()
        saved = load_run_config(folder) if begun else None
    else:
        folder = Path(command.resume)
        saved = load_run_config(folder)
        config = with_absolute_paths(config, saved.data.manifest)
    if saved is not None:
        own = ("resume", "runs_dir", "run_name")
        words = [word for word in settings if word.partition("=")[0] not in own]
        config = resumed(saved, config, words)
    outcome = train(config, folder, resume=saved is not None)
    if not outcome.finished:
        say(f"stopped at step {outcome.steps}; go on with: semilung train resume={folder}")
        sys.exit(stopped_by(KeyboardInterrupt(outcome.asked)))
    say(f"trained {outcome.steps} steps: {folder}\njudge it with: semilung evaluate {folder}")


def stopped_by(stop: KeyboardInterrupt) -> int:
    """The exit code after a signal, whose number it holds: a cluster's is to be tried again."""
    return 130 if stop.args in ((), (signal.SIGINT,)) else TRY_AGAIN


def ablate_command(words: list[str]) -> None:
    """`semilung ablate` with the words that follow it."""
    asked = _ablate_parser().parse_intermixed_args(words)

    from semilung.ablation import FailedRunsError, ablate

    # a shell's background jobs ignore Ctrl-C; a training does not, nor does what lies between two
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        folder = ablate(asked.settings, config_dir=asked.config_dir)
    except FailedRunsError as error:
        fail(str(error), 1)
    except KeyboardInterrupt as stop:
        fail("interrupted; the same command goes on from here", stopped_by(stop))
    say(f"results: {folder / 'results.csv'}\nreport: semilung report {folder}")


def _ablate_parser() -> Parser:
    parser = Parser(
        prog="semilung ablate",
        description=ABLATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("settings", nargs="*", metavar="key=value[,value ...]")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="further configs, of "
                        "strategies from elsewhere")  # fmt: skip
    return parser
