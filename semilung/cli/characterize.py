"""`semilung characterize`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from semilung.cli.characterize_run import add_run_arguments, characterize_run
from semilung.cli.messages import say
from semilung.types import UserError

STUDY = ("nodules", "stability", "scores", "external", "folds_only")
DESCRIPTION = ("checkpoint", "frame", "overwrite", "series")
"""Arguments of the one or the other alone."""


def add_characterize(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `semilung characterize`."""
    parser.description = (
        "A study of a table of features (FEATURES.csv --nodules NODULES.csv), or the description "
        "of given findings by a run (FINDINGS.csv or MASK ... --run RUN --scan SCAN ...)."
    )
    parser.add_argument("tables", type=Path, nargs="+", metavar="FILE", help="features of nodules, "
                        "as semilung radiomics writes them; or with --run, findings as semilung "
                        "detect writes them, or the mask of each scan")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of the study's page and "
                        "tables; with --run, the table to write")  # fmt: skip
    study = parser.add_argument_group(
        "study", "nested cross-validation by patient. Settings: target=malignancy negative=[1,2] "
        "positive=[4,5] source=readers folds=5 inner_folds=5 repeats=5 seed=0 "
        "models=[logistic,boosting] stability=0.75 redundancy=0.9 bootstraps=2000 "
        "size_bins_mm=[6,15]",
    )  # fmt: skip
    study.add_argument("--nodules", type=Path, metavar="NODULES.csv",
                       help="the target of each nodule")  # fmt: skip
    study.add_argument("--stability", type=Path, metavar="S.csv", help="of the features, as "
                       "semilung radiomics writes it; unstable ones are left out")  # fmt: skip
    study.add_argument("--scores", action="append", default=[], metavar="NAME=F.csv",
                       help="scores of nets that were trained on these folds: repeat, fold, part, "
                       "case, nodule, score; give several")  # fmt: skip
    study.add_argument("--external", type=Path, metavar="NODULES2.csv", help="evaluate the same "
                       "scores with other labels too, such as pathology; settings: "
                       "external_target=malignant external_negative=[0] "
                       "external_positive=[1]")  # fmt: skip
    study.add_argument("--folds-only", action="store_true", help="write folds.csv alone, on which "
                       "nets are trained whose --scores are compared later")  # fmt: skip
    add_run_arguments(parser)
    parser.set_defaults(run=_characterize)


def _characterize(arguments: argparse.Namespace) -> None:
    if arguments.runs or arguments.scans:
        _require_none(
            arguments, STUDY, "a study of features, and --run and --scan describe findings"
        )
        characterize_run(arguments)
        return
    _require_none(arguments, DESCRIPTION, "the description of findings by a run (--run, --scan)")
    if arguments.nodules is None or len(arguments.tables) > 1:
        raise UserError(
            "a study takes one table of features and --nodules NODULES.csv, the targets; to "
            "describe findings, add --run RUN and --scan SCAN"
        )
    if arguments.folds_only:
        _write_folds(arguments)
    else:
        _study(arguments)


def _require_none(arguments: argparse.Namespace, names: Sequence[str], purpose: str) -> None:
    """Raise UserError if an argument of another purpose is there."""
    for name in names:
        if getattr(arguments, name):
            raise UserError(f"--{name.replace('_', '-')} is of {purpose}; leave it out")


def _write_folds(arguments: argparse.Namespace) -> None:
    if arguments.scores or arguments.external or arguments.stability:
        raise UserError(
            "--folds-only writes the folds alone, and takes no --scores, --external or --stability"
        )
    from semilung.api.characterize import write_folds

    path = write_folds(
        arguments.tables[0], arguments.nodules, arguments.out, settings=arguments.settings
    )
    say(f"Folds: {path}")


def _study(arguments: argparse.Namespace) -> None:
    scores = dict(map(_named, arguments.scores))
    if len(scores) < len(arguments.scores):
        raise UserError("--scores names a net twice; give each table a name of its own")
    from semilung.api.characterize import characterize

    result = characterize(
        arguments.tables[0],
        arguments.nodules,
        arguments.out,
        stability=arguments.stability,
        scores=scores,
        external=arguments.external,
        settings=arguments.settings,
        progress=True,
    )
    for line in result.summary():
        say(line)
    say(f"Page: {result.page}")


def _named(word: str) -> tuple[str, Path]:
    name, equals, path = word.partition("=")
    if not (name and equals and path):
        raise UserError(f"--scores {word}: write the name of the net and its table, as net=net.csv")
    return name, Path(path)
