"""The `semilung` command: the table of commands, and what all of them share.

Torch and Hydra are imported where a command needs them, so that help comes at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from semilung import __version__
from semilung.arm_names import printable
from semilung.cli.ablate import ablate_command
from semilung.cli.characterize import add_characterize
from semilung.cli.data import add_data
from semilung.cli.detect import add_detect
from semilung.cli.evaluate import add_evaluate
from semilung.cli.export import add_export
from semilung.cli.list import add_list
from semilung.cli.messages import fail
from semilung.cli.parser import Parser
from semilung.cli.predict import add_predict
from semilung.cli.radiomics import add_radiomics
from semilung.cli.report import add_report
from semilung.cli.screen import screened
from semilung.cli.settings import split_settings
from semilung.cli.train import train_command
from semilung.exhaustion import exhausted
from semilung.signals import exit_code, exit_on_interrupted_import, interrupt_on_signals
from semilung.types import UserError

_SETTINGS_COMMANDS = {"train": train_command, "ablate": ablate_command}
"""Commands of settings, with words of their own grammar."""

_COMMANDS = (
    ("data", "import, scan, merge, check, prepare, anatomy, report, export, phantom", add_data),
    ("evaluate", "evaluate a run, or the findings of any detector (FROC)", add_evaluate),
    ("report", "one page on a sweep, or on one or more runs", add_report),
    ("predict", "write nodule masks of scans", add_predict),
    ("detect", "write the nodules of scans as tables and pages", add_detect),
    ("radiomics", "tables of IBSI features of nodules", add_radiomics),
    ("characterize", "what nodules' features say of a target, next to size", add_characterize),
    ("export", "write a run's net for sharing, MONAI or ONNX", add_export),
    ("list", "names that a config may use", add_list),
)
"""Commands of plain arguments: name, help, and what adds the arguments."""

_OF_THE_MACHINE = (
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR),
    *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE),
)
"""Errors that the user can fix, if nothing else has said so before."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit.

    0 done, 1 a bug of semilung or a failed run of an ablation, 2 an error that the user can fix, 75
    stopped by a cluster (SIGTERM, SIGUSR1) and to be tried again, 130 interrupted.
    """
    # read when torch is imported, whose threads else spin at each barrier
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with screened(), exit_on_interrupted_import():
        _run([*(sys.argv[1:] if argv is None else argv)])  # `list` is the module of a command
    sys.exit(0)


def _run(words: list[str]) -> None:
    with suppress(ImportError):
        import_module("itkConfig")  # replaces the format of warnings when monai first imports it
    warnings.formatwarning = _format_warning
    warnings.simplefilter("once", UserWarning)  # a run that is evaluated twice warns once
    threading.excepthook = _thread_error
    try:
        with interrupt_on_signals():
            if command := _SETTINGS_COMMANDS.get(words[0] if words else ""):
                command(words[1:])
            else:
                settings, words = split_settings(words)
                arguments = argparse.Namespace(settings=settings)
                _parser().parse_command(words, arguments)
                arguments.run(arguments)
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt as stop:
        fail("interrupted", exit_code(stop))
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        if (message := exhausted(error) or _machine_error(error)) is None:
            raise
        fail(message)


def _machine_error(error: Exception) -> str | None:
    """Return what the file system says of a path; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in _OF_THE_MACHINE:
        return None
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Return a warning without the line of code that gave it."""
    return printable(f"semilung: warning: {message}\n")


def _thread_error(caught: threading.ExceptHookArgs) -> None:
    """Ignore a disk that refuses a thread (TensorBoard's): the main one's next write reports it."""
    if not isinstance(caught.exc_value, OSError):
        threading.__excepthook__(caught)


def _parser() -> Parser:
    parser = Parser(
        prog="semilung",
        description="Semi- and weakly-supervised lung-nodule segmentation on 3D CT.",
        epilog="semilung COMMAND --help prints the arguments of each.",
    )
    parser.add_argument("--version", action="version", version=f"semilung {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands.add_parser("train", help="train: semilung train strategy=mean_teacher [key=value ...]")
    commands.add_parser(
        "ablate",
        help="train and compare: semilung ablate strategy=a,b seed=0,1,2 [key=value,value ...]",
    )
    for name, text, add_arguments in _COMMANDS:
        add_arguments(commands.add_parser(name, help=text))
    return parser
