"""`semilung evaluate`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from semilung.cli.messages import say


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `semilung evaluate`."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders, several "
                        "are averaged; and settings: inference.key=value instead of the run's, "
                        "and evaluation.empty=nnunet|monai|pymic, which shows the metrics of "
                        "another convention for empty masks too")  # fmt: skip
    parser.add_argument("--split", choices=["val", "test"], help="default: test")
    parser.add_argument("--manifest", type=Path, help="evaluate on all cases of another manifest; "
                        "with --split: where the run's own manifest is now")  # fmt: skip
    parser.add_argument("--checkpoint", choices=["last", "best"], default="last")
    parser.add_argument("--threshold", type=_threshold, metavar="P|val", help="foreground above "
                        "this probability instead of the run's; val: the one with the best Dice "
                        "on the run's validation cases")  # fmt: skip
    parser.add_argument("--out", type=Path, help="default: RUN/evaluation-<what>-<checkpoint>, "
                        "with what differs from the run's own settings after it")  # fmt: skip
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    from semilung.api.evaluate import evaluate
    from semilung.evaluation import print_table

    evaluation = evaluate(
        arguments.runs,
        split=arguments.split,
        manifest=arguments.manifest,
        checkpoint=arguments.checkpoint,
        threshold=arguments.threshold,
        settings=arguments.settings,
        out=arguments.out,
        progress=True,
    )
    print_table(evaluation.summary)
    if arguments.threshold == "val":
        chosen = evaluation.report.cases["threshold"].iloc[0]
        table = evaluation.folder / "threshold.csv"
        say(f"threshold {chosen:g}, chosen on validation cases: {table}")
    say(f"tables: {evaluation.folder}")


def _threshold(word: str) -> float | str:
    if word == "val":
        return word
    if re.fullmatch(r"0?\.\d+|0", word):
        return float(word)
    msg = f"{word!r} is neither a probability in [0, 1), as 0.5, nor val"
    raise argparse.ArgumentTypeError(msg)
