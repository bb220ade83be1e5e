"""`semilung evaluate`: runs, or a detector's findings."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from semilung.cli.messages import say
from semilung.types import UserError

_OF_RUNS = {
    "runs": "RUN",
    "settings": "key=value",
    "split": "--split",
    "manifest": "--manifest",
    "checkpoint": "--checkpoint",
    "threshold": "--threshold",
}
_OF_FINDINGS = {
    "findings": "--findings",
    "annotations": "--annotations",
    "excluded": "--excluded",
    "scans": "--scans",
}
"""Arguments of either way to evaluate, and how they are written."""


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `semilung evaluate`."""
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="run folders, several "
                        "are averaged; and settings: inference.key=value instead of the run's, "
                        "and evaluation.empty=nnunet|monai|pymic, which shows the metrics of "
                        "another convention for empty masks too")  # fmt: skip
    parser.add_argument("--split", choices=["val", "test"], help="default: test")
    parser.add_argument("--manifest", type=Path, help="evaluate on all cases of another manifest; "
                        "with --split: where the run's own manifest is now")  # fmt: skip
    parser.add_argument("--checkpoint", choices=["last", "best"], help="default: last")
    parser.add_argument("--threshold", type=_threshold, metavar="P|val", help="foreground above "
                        "this probability instead of the run's; val: the one with the best Dice "
                        "on the run's validation cases")  # fmt: skip
    parser.add_argument("--out", type=Path, help="default: RUN/evaluation-<what>-<checkpoint>, "
                        "with what differs from the run's own settings after it; with --findings "
                        "a CSV file for the table, by default none")  # fmt: skip
    tables = parser.add_argument_group("FROC of a detector's findings, instead of runs")
    tables.add_argument("--findings", type=Path, metavar="F.csv", help="seriesuid, coordX, coordY, "
                        "coordZ, probability: a row a mark, as LUNA16's")  # fmt: skip
    tables.add_argument("--annotations", type=Path, metavar="A.csv", help="seriesuid, coordX, "
                        "coordY, coordZ, diameter_mm: a row a nodule")  # fmt: skip
    tables.add_argument("--excluded", type=Path, metavar="E.csv", help="findings that are neither "
                        "nodule nor false positive, in the same columns")  # fmt: skip
    tables.add_argument("--scans", type=Path, metavar="S.csv", help="all scans that the detector "
                        "ran on, one seriesuid a line; default: those that the tables name"
                        )  # fmt: skip
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    _require_runs_or_findings(arguments)
    if arguments.findings is None:
        _evaluate_runs(arguments)
    else:
        _evaluate_findings(arguments)


def _require_runs_or_findings(arguments: argparse.Namespace) -> None:
    of_runs, of_findings = (
        [word for name, word in words.items() if getattr(arguments, name) not in (None, [])]
        for words in (_OF_RUNS, _OF_FINDINGS)
    )
    if of_runs and of_findings:
        raise UserError(
            f"evaluate takes runs or findings, and {', '.join(of_runs)} cannot go with "
            f"{', '.join(of_findings)}; evaluate the two one after the other"
        )
    needed = ("--findings", "--annotations")
    if missing := [word for word in needed if of_findings and word not in of_findings]:
        raise UserError(
            f"evaluate needs {missing[0]} next to {of_findings[0]}: --findings F.csv of a detector "
            "and --annotations A.csv of the nodules"
        )
    if not of_findings and not arguments.runs:
        raise UserError(
            "the following arguments are required: RUN, or --findings F.csv --annotations A.csv"
        )


def _evaluate_runs(arguments: argparse.Namespace) -> None:
    from semilung.api.evaluate import evaluate
    from semilung.evaluation import print_table

    evaluation = evaluate(
        arguments.runs,
        split=arguments.split,
        manifest=arguments.manifest,
        checkpoint=arguments.checkpoint or "last",
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


def _evaluate_findings(arguments: argparse.Namespace) -> None:
    if arguments.out is not None and arguments.out.suffix.lower() != ".csv":
        raise UserError(
            f"--out {arguments.out} is not the name of a CSV file; with --findings, name one such "
            "as froc.csv"
        )
    from semilung.api.evaluate_findings import evaluate_findings
    from semilung.csv_tables import write_csv
    from semilung.evaluation import print_table

    froc = evaluate_findings(
        arguments.findings,
        arguments.annotations,
        excluded=arguments.excluded,
        scans=arguments.scans,
    )
    print_table(froc.table())
    if arguments.out is not None:
        write_csv(arguments.out, froc.table())
        say(f"table: {arguments.out}")


def _threshold(word: str) -> float | str:
    if word == "val":
        return word
    if re.fullmatch(r"0?\.\d+|0", word):
        return float(word)
    msg = f"{word!r} is neither a probability in [0, 1), as 0.5, nor val"
    raise argparse.ArgumentTypeError(msg)
