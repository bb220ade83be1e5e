"""What is done with runs: `evaluate`, `predict`, `report`; and `list`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from semilung.cli.messages import say
from semilung.types import UserError


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Arguments of `semilung evaluate`."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders, several "
                        "are averaged; and settings: inference.key=value instead of the run's, "
                        "and evaluation.empty=nnunet|monai|pymic, which shows the figures of "
                        "another convention for empty masks too")  # fmt: skip
    parser.add_argument("--split", choices=["val", "test"], help="default: test")
    parser.add_argument("--manifest", type=Path, help="judge on all cases of another manifest; "
                        "with --split: where the run's own manifest is now")  # fmt: skip
    parser.add_argument("--checkpoint", choices=["last", "best"], default="last")
    parser.add_argument("--threshold", type=_threshold, metavar="P|val", help="foreground above "
                        "this probability instead of the run's; val: the one with the best Dice "
                        "on the run's validation cases")  # fmt: skip
    parser.add_argument("--out", type=Path, help="default: RUN/evaluation-<what>-<checkpoint>, "
                        "with what differs from the run's own settings after it")  # fmt: skip
    parser.set_defaults(run=_evaluate)


def add_report(parser: argparse.ArgumentParser) -> None:
    """Arguments of `semilung report`."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN_OR_SWEEP",
                        help="a sweep's folder, or run folders, all evaluated")  # fmt: skip
    parser.add_argument("--out", type=Path, help="default: report, in the first folder")
    parser.add_argument("--split", choices=["val", "test"], help="default: the sweep's; of runs "
                        "test where all were judged on it, else val")  # fmt: skip
    parser.add_argument("--metric", default="dice", help="metric to compare arms by")
    # the name of the option in earlier versions
    parser.add_argument("--figure", dest="metric", default=argparse.SUPPRESS,
                        help=argparse.SUPPRESS)  # fmt: skip
    parser.set_defaults(run=_report)


def add_predict(parser: argparse.ArgumentParser) -> None:
    """Arguments of `semilung predict`."""
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN",
                        help="CT volumes, or folders of DICOM slices; and settings: "
                        "inference.key=value instead of the run's")  # fmt: skip
    parser.add_argument("--run", type=Path, action="append", required=True, dest="runs",
                        help="a run's folder; give several to average them")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for the masks")
    parser.add_argument("--checkpoint", choices=["last", "best"], default="last")
    parser.add_argument("--threshold", type=float, help="default: the run's")
    parser.add_argument("--probability", action="store_true", help="write probabilities too")
    parser.add_argument("--pseudo-labels", action="store_true",
                        help="write labels for another training too, unsure voxels set to 255, "
                        "and OUT/manifest.csv that names them")  # fmt: skip
    parser.add_argument("--confident", type=float, help="least confidence of a pseudo-label's "
                        "voxel, 0.5 to 1; default 0.9")  # fmt: skip
    parser.add_argument("--series", metavar="NUMBER", help="which series of a DICOM folder that "
                        "holds several; without it they are listed")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true")
    parser.set_defaults(run=_predict)


def add_list(parser: argparse.ArgumentParser) -> None:
    """Arguments of `semilung list`."""
    parser.add_argument("kind", choices=["strategies", "losses", "models", "settings"])
    parser.add_argument("--markdown", action="store_true", help="as a Markdown table")
    parser.set_defaults(run=_list)


def _evaluate(arguments: argparse.Namespace) -> None:
    from semilung.config.schema import load_run_config, with_known_cache, with_settings
    from semilung.evaluation import print_table, summarise
    from semilung.training import judge, split_cases, unseen_cases
    from semilung.training.judge import differing, evaluation_folder, manifest_name

    runs = arguments.runs
    configs = [with_known_cache(load_run_config(run)) for run in runs]
    own = configs[0].inference
    configs[0] = with_settings(configs[0], arguments.settings)  # by which all of them are used
    empty = configs[0].evaluation.empty
    if arguments.manifest and not arguments.split:
        cases = unseen_cases(runs, configs, arguments.manifest)
        what = manifest_name(arguments.manifest)
    else:
        what = arguments.split or "test"
        cases = split_cases(runs, configs, what, manifest=arguments.manifest)
    changed = differing(own, configs[0].inference, arguments.threshold)
    folder = evaluation_folder(what, arguments.checkpoint, runs=len(runs), changed=changed)
    out = arguments.out or runs[0] / folder
    report = judge(
        runs,
        configs,
        cases,
        out,
        what=what,
        checkpoint=arguments.checkpoint,
        empty=empty,
        threshold=arguments.threshold,
        manifest=arguments.manifest if arguments.split else None,
        progress=True,
    )
    print_table(summarise(report, empty=empty))
    if arguments.threshold == "val":
        chosen = report.cases["threshold"].iloc[0]
        say(f"threshold {chosen:g}, chosen on validation cases: {out / 'threshold.csv'}")
    say(f"tables: {out}")


def _threshold(word: str) -> float | str:
    if word == "val":
        return word
    if re.fullmatch(r"0?\.\d+|0", word):
        return float(word)
    msg = f"{word!r} is neither a probability in [0, 1), as 0.5, nor val"
    raise argparse.ArgumentTypeError(msg)


def _report(arguments: argparse.Namespace) -> None:
    from semilung.report import write_html

    page = write_html(
        arguments.folders, arguments.out, split=arguments.split, metric=arguments.metric
    )
    say(f"report: {page}")


def _predict(arguments: argparse.Namespace) -> None:
    from semilung.config.schema import load_run_config, with_settings
    from semilung.training import load_predictor, predict_files

    confident = arguments.confident
    if confident is not None and not arguments.pseudo_labels:
        raise UserError("--confident is the confidence of pseudo-labels: add --pseudo-labels")
    if arguments.pseudo_labels and arguments.series is not None:
        raise UserError(
            "--series and --pseudo-labels do not go together, because a manifest names a folder "
            "and not one of its series: copy the series into a folder of its own and give that"
        )
    if confident is None and arguments.pseudo_labels:
        confident = 0.9
    configs = [load_run_config(run) for run in arguments.runs]
    configs[0] = with_settings(configs[0], arguments.settings)
    models = [load_predictor(run, arguments.checkpoint) for run in arguments.runs]
    written = predict_files(
        models,
        configs,
        arguments.scans,
        arguments.out,
        threshold=arguments.threshold,
        probability=arguments.probability,
        confident=confident,
        overwrite=arguments.overwrite,
        series=arguments.series,
        progress=True,
    )
    for path in written:
        say(str(path))


def _list(arguments: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    if arguments.kind == "settings":
        _list_settings(markdown=arguments.markdown)
        return
    from semilung.catalogue import catalogue, markdown

    if arguments.markdown:
        say(markdown(arguments.kind))
        return
    table = Table("name", "what it does", "needs", box=None, pad_edge=False)
    for entry in catalogue(arguments.kind):
        table.add_row(*entry)
    console = Console()
    console.width = console.width if console.is_terminal else 160
    console.print(table, markup=False)


def _list_settings(*, markdown: bool) -> None:
    from semilung.config.settings_table import settings_help, settings_page

    say(settings_page().rstrip() if markdown else settings_help(160))
