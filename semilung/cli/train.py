"""`semilung train`."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence

from semilung.cli.messages import say
from semilung.cli.parser import SettingsParser
from semilung.signals import exit_code

TRAIN = """\
Train one strategy, or several at once.

  semilung train strategy=mean_teacher data.manifest=manifest.csv seed=0
  semilung train resume=runs/NAME                         # go on
  semilung train resume=runs/NAME trainer.max_steps=2000  # longer than planned"""


def train_command(words: Sequence[str]) -> None:
    """Run `semilung train` with the words that follow it."""
    arguments = _parser(_settings_help(words)).parse_words(words)

    from semilung.api.train import ReportedError, composed_yaml, first_rank_output

    if arguments.cfg:
        say(composed_yaml(arguments.settings, config_dir=arguments.config_dir))
        return
    try:
        with first_rank_output():
            _train(arguments)
    except ReportedError:
        sys.exit(2)  # the process that has failed reports why


def _train(arguments: argparse.Namespace) -> None:
    from semilung.api.train import train

    outcome = train(arguments.settings, config_dir=arguments.config_dir)
    if not outcome.finished:
        say(f"stopped at step {outcome.steps}; go on with: semilung train resume={outcome.run}")
        sys.exit(exit_code(KeyboardInterrupt(outcome.signal)))
    say(
        f"trained {outcome.steps} steps: {outcome.run}\n"
        f"evaluate it with: semilung evaluate {outcome.run}"
    )


def _settings_help(words: Sequence[str]) -> str:
    """Return the settings for `--help`; they take torch's import, so only where it is given."""
    if not {"-h", "--help"} & set(words):
        return ""
    from semilung.api.list import settings_help

    width = shutil.get_terminal_size().columns
    more = "Defaults and ranges: docs/settings.md, or semilung list settings --markdown"
    return f"settings:\n{settings_help(width)}\n\n{more}"


def _parser(epilog: str) -> SettingsParser:
    parser = SettingsParser(
        prog="semilung train",
        description=TRAIN,
        metavar="key=value",
        example="optim.lr=1e-3 ...",
        epilog=epilog,
    )
    parser.add_argument("--cfg", choices=["job"], help="print the composed config and train not")
    return parser
