"""The `semilung` command: `train` speaks Hydra, everything else plain arguments.

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
from typing import NoReturn

from semilung import __version__
from semilung.arm_names import printable
from semilung.cli.data import add_data
from semilung.cli.messages import fail
from semilung.cli.parser import Parser
from semilung.cli.runs import add_evaluate, add_list, add_predict, add_report
from semilung.cli.screen import screened
from semilung.cli.settings import parted
from semilung.cli.train import ablate_command, stopped_by, train_command
from semilung.exhaustion import exhausted
from semilung.stopping import breaking_off, leaving_imports
from semilung.types import UserError

_OF_THE_MACHINE = (
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR),
    *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE),
)
"""Errors that the user can fix, if nothing else has said so before."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit.

    0 done, 1 a fault of semilung or a failed run of an ablation, 2 a mistake, 75 told to stop
    (SIGTERM, SIGUSR1) and to be tried again, 130 interrupted.
    """
    # read when torch is imported, whose threads else spin at each barrier
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with screened(), leaving_imports():
        _run(list(sys.argv[1:] if argv is None else argv))
    sys.exit(0)


def _run(arguments: list[str]) -> None:
    warnings.formatwarning = _plain_warning
    warnings.simplefilter("once", UserWarning)  # a run that is judged twice warns once
    threading.excepthook = _plain_thread
    try:
        with breaking_off():
            if arguments[:1] == ["train"]:
                train_command(arguments[1:])
            elif arguments[:1] == ["ablate"]:
                ablate_command(arguments[1:])
            else:
                settings, words = parted(arguments)
                parsed = _parser().parse_args(words, argparse.Namespace(settings=settings))
                parsed.run(parsed)
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt as stop:
        fail("interrupted", stopped_by(stop))
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        if (message := exhausted(error) or _machine_error(error)) is None:
            raise
        fail(message)


def _machine_error(error: Exception) -> str | None:
    """What the file system says of a path, wherever it was touched; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in _OF_THE_MACHINE:
        return None
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def _plain_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning as a user needs it, without the line of code that gave it."""
    return printable(f"semilung: warning: {message}\n")


def _plain_thread(caught: threading.ExceptHookArgs) -> None:
    """A disk that refuses a thread (TensorBoard's) is told by the next write of the main one."""
    if not isinstance(caught.exc_value, OSError):
        threading.__excepthook__(caught)


def _parser() -> Parser:
    parser = Parser(
        prog="semilung",
        description="Semi- and weakly-supervised lung-nodule segmentation on 3D CT.",
        epilog="semilung COMMAND --help tells more about each.",
    )
    parser.add_argument("--version", action="version", version=f"semilung {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands.add_parser("train", help="train: semilung train strategy=mean_teacher [key=value ...]")
    commands.add_parser(
        "ablate",
        help="train and compare: semilung ablate strategy=a,b seed=0,1,2 [key=value,value ...]",
    )
    add_data(commands.add_parser("data", help="phantom, check, prepare, anatomy"))
    add_evaluate(commands.add_parser("evaluate", help="judge a run on a split or a manifest"))
    add_report(commands.add_parser("report", help="one page on a sweep, or on one or more runs"))
    add_predict(commands.add_parser("predict", help="write nodule masks of scans"))
    add_list(commands.add_parser("list", help="names that a config may use"))
    return parser
