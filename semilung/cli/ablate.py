"""`semilung ablate`."""

from __future__ import annotations

from collections.abc import Sequence

from semilung.cli.messages import fail, say
from semilung.cli.parser import SettingsParser
from semilung.signals import enable_interrupts, exit_code

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
interrupted; 75: stopped by SIGTERM or SIGUSR1, to be tried again."""


def ablate_command(words: Sequence[str]) -> None:
    """Run `semilung ablate` with the words that follow it."""
    arguments = SettingsParser(
        prog="semilung ablate", description=ABLATE, metavar="key=value[,value ...]"
    ).parse_words(words)

    from semilung.ablation import FailedRunsError, ablate

    enable_interrupts()  # a training handles Ctrl-C in a shell's background job; so does a sweep
    try:
        folder = ablate(arguments.settings, config_dir=arguments.config_dir)
    except FailedRunsError as error:
        fail(str(error), 1)
    except KeyboardInterrupt as stop:
        fail("interrupted; the same command goes on from here", exit_code(stop))
    say(f"results: {folder / 'results.csv'}\nreport: semilung report {folder}")
