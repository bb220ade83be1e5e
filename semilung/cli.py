"""The `semilung` command: `train` speaks Hydra, everything else plain arguments.

Torch and Hydra are imported where a command needs them, so that help comes at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from semilung import __version__
from semilung.types import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


ABLATE = """\
Train every combination of the swept settings, judge all runs on the same cases, keep the table.

  semilung ablate strategy=mean_teacher,'[mean_teacher,mil]' seed=0,1,2 data.labelled=8,16

Any setting of `semilung train` may be swept; strategies.X.* concerns the arms that hold X. The arm
`supervised`, and where there is a healthy stream the same without it, are always among them.

  split=val|test           what runs are judged on; val unless asked
  equal=steps|compute      what arms get the same of
  baselines=false          only the strategies that are named
  sweep_dir=DIR            default: sweeps/<strategies>-<hash of what all runs share>
  hydra/launcher=parallel  side by side (extra `parallel`); slurm, slurm_local (extra `cluster`)
  --config-dir DIR         further configs, of strategies from elsewhere

The same command goes on where it was interrupted and repeats nothing that is finished."""

Command = Callable[[argparse.Namespace], None]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 done, 1 a fault of semilung, 2 a mistake, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.formatwarning = _plain_warning
    try:
        if arguments[:1] == ["train"]:
            _train(arguments[1:])
        elif arguments[:1] == ["ablate"] and not {"-h", "--help"} & set(arguments):
            _ablate(arguments[1:])
        else:
            parsed = _parser().parse_args(_settings_first(arguments))
            parsed.run(parsed)
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    sys.exit(0)


def _settings_first(arguments: list[str]) -> list[str]:
    """`evaluation.key=value` behind the command: argparse wants words without dashes together."""
    settings = [word for word in arguments if word.startswith("evaluation.")]
    others = [word for word in arguments if word not in settings]
    return [*others[:1], *settings, *others[1:]]


def _plain_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning as a user needs it, without the line of code that gave it."""
    return f"semilung: warning: {message}\n"


def _fail(message: str) -> NoReturn:
    print(f"semilung: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(2)


def _say(message: str) -> None:
    print(message)  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
        description=ABLATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_data(commands.add_parser("data", help="phantom, check, prepare, anatomy"))
    _add_evaluate(commands.add_parser("evaluate", help="judge a run on a split or a manifest"))
    _add_report(commands.add_parser("report", help="one page on a sweep, or on one or more runs"))
    _add_predict(commands.add_parser("predict", help="write nodule masks of NIfTI scans"))
    listing = commands.add_parser("list", help="names that a config may use")
    listing.add_argument("kind", choices=["strategies", "losses", "models"])
    listing.add_argument("--markdown", action="store_true", help="as a Markdown table")
    listing.set_defaults(run=_list)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    phantom = commands.add_parser("phantom", help="make a cohort of procedural chest CTs")
    phantom.add_argument("out", type=Path, help="new folder for the scans and manifest.csv")
    phantom.add_argument("--scans", type=int, default=12)
    phantom.add_argument("--size", type=int, default=96, help="voxels along each axis")
    phantom.add_argument("--spacing-mm", type=float, default=2.0)
    phantom.add_argument("--seed", type=int, default=0)
    phantom.set_defaults(run=_data_phantom)
    check = commands.add_parser("check", help="tell everything wrong with a manifest")
    check.add_argument("manifest", type=Path)
    check.set_defaults(run=_data_check)
    prepare = commands.add_parser("prepare", help="fill the cache of resampled volumes")
    prepare.add_argument("manifest", type=Path)
    prepare.add_argument("settings", nargs="*", help="of data, as in train: spacing_mm=[2,2,2]")
    prepare.add_argument("--verify", action="store_true", help="hash what the cache holds")
    prepare.set_defaults(run=_data_prepare)
    anatomy = commands.add_parser("anatomy", help="label coarse anatomy where a manifest has none")
    anatomy.add_argument("manifest", type=Path)
    anatomy.add_argument("--out", type=Path, help="default: anatomy, beside the manifest")
    anatomy.add_argument("--lungs", choices=["classical", "lungmask"], default="classical")
    anatomy.add_argument("--overwrite", action="store_true", help="make all anatomy anew")
    anatomy.set_defaults(run=_data_anatomy)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, several are averaged; "
                        "and settings: evaluation.empty=nnunet|monai|pymic shows the figures "
                        "of another convention for empty masks too")  # fmt: skip
    parser.add_argument("--split", choices=["val", "test"], help="default: test")
    parser.add_argument("--manifest", type=Path, help="judge on all cases of another manifest; "
                        "with --split: where the run's own manifest is now")  # fmt: skip
    parser.add_argument("--checkpoint", choices=["last", "best"], default="last")
    parser.add_argument("--out", type=Path, help="default: RUN/evaluation-<what>-<checkpoint>")
    parser.set_defaults(run=_evaluate)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN_OR_SWEEP",
                        help="a sweep's folder, or run folders, all evaluated")  # fmt: skip
    parser.add_argument("--out", type=Path, help="default: report, in the first folder")
    parser.add_argument("--split", choices=["val", "test"], help="default: the sweep's; of runs "
                        "test where all were judged on it, else val")  # fmt: skip
    parser.add_argument("--figure", default="dice", help="what arms are compared by")
    parser.set_defaults(run=_report)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scans", type=Path, nargs="+", help="NIfTI files")
    parser.add_argument("--run", type=Path, action="append", required=True, dest="runs",
                        help="a run's folder; give several to average them")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for the masks")
    parser.add_argument("--checkpoint", choices=["last", "best"], default="last")
    parser.add_argument("--threshold", type=float, help="default: the run's")
    parser.add_argument("--probability", action="store_true", help="write probabilities too")
    parser.add_argument("--pseudo-labels", action="store_true",
                        help="write labels for another training too, unsure voxels set to 255, "
                        "and OUT/manifest.csv that names them")  # fmt: skip
    parser.add_argument("--confident", type=float, default=0.9,
                        help="least confidence of a pseudo-label's voxel, 0.5 to 1")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true")
    parser.set_defaults(run=_predict)


def _train(overrides: list[str]) -> None:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from semilung.config import register_schema

    register_schema()
    sys.argv = ["semilung train", *overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hands errors on instead of printing them in its own way
    wrapped = hydra.main(
        config_path="pkg://semilung.configs", config_name="train", version_base="1.3"
    )(_run_training)
    try:
        wrapped()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_of_hydra(error)) from error


def _of_hydra(error: BaseException) -> str:
    """What a user needs of Hydra's message, and the first line of its cause."""
    told = str(error).partition("Config search path:")[0]
    lines = [line.strip() for line in told.splitlines() if not line.startswith((" ", "To append"))]
    if error.__cause__ is not None:
        lines.append(str(error.__cause__).splitlines()[0])
    unique = dict.fromkeys(filter(None, lines))
    return "\n  ".join(unique) + "\n`semilung train --cfg job` shows every setting"


def _run_training(composed: DictConfig) -> None:
    try:
        _train_composed(composed)
    except UserError as error:  # here, for Hydra would tell of it in its own way
        _fail(str(error))


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
    if command.resume is not None:
        folder = Path(command.resume)
        saved = load_run_config(folder)
        config = with_absolute_paths(config, saved.data.manifest)
        own = ("resume", "runs_dir", "run_name")
        task = HydraConfig.get().overrides.task
        config = resumed(saved, config, [o for o in task if o.partition("=")[0] not in own])
    else:
        config = with_absolute_paths(config, None)
        folder = Path(command.runs_dir) / (command.run_name or run_name(config))
    outcome = train(config, folder, resume=command.resume is not None)
    if not outcome.finished:
        _say(f"stopped at step {outcome.steps}; go on with: semilung train resume={folder}")
        sys.exit(130)
    _say(f"trained {outcome.steps} steps: {folder}\njudge it with: semilung evaluate {folder}")


def _ablate(words: list[str]) -> None:
    from semilung.ablation import ablate

    config_dir = None
    if "--config-dir" in words:
        at = words.index("--config-dir")
        if at + 1 == len(words):
            raise UserError("--config-dir wants a folder")
        config_dir = Path(words[at + 1])
        del words[at : at + 2]
    try:
        folder = ablate(words, config_dir=config_dir)
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from here")
        sys.exit(130)
    _say(f"results: {folder / 'results.csv'}\nreport: semilung report {folder}")


def _data_phantom(arguments: argparse.Namespace) -> None:
    from semilung.data.phantom import write_phantom

    manifest = write_phantom(
        arguments.out,
        scans=arguments.scans,
        size=arguments.size,
        spacing_mm=arguments.spacing_mm,
        seed=arguments.seed,
    )
    _say(f"manifest: {manifest}")


def _data_check(arguments: argparse.Namespace) -> None:
    from semilung.data import check_manifest

    faults = check_manifest(arguments.manifest)
    for fault in faults:
        _say(f"row {fault.row}  {fault.case}  {fault.field}: {fault.message}")
    if faults:
        raise UserError(f"{arguments.manifest} has {len(faults)} faults, listed above")
    _say(f"{arguments.manifest}: no fault found")


def _data_prepare(arguments: argparse.Namespace) -> None:
    from semilung.config import data_config
    from semilung.data import prepare, read_manifest

    config = data_config(arguments.settings)
    prepared = prepare(read_manifest(arguments.manifest), config, verify=arguments.verify)
    _say(f"{len(prepared)} cases are prepared in {config.cache_folder()}")


def _data_anatomy(arguments: argparse.Namespace) -> None:
    from semilung.data.anatomy import add_anatomy

    outcome = add_anatomy(
        arguments.manifest,
        out=arguments.out,
        overwrite=arguments.overwrite,
        lungs=arguments.lungs,
    )
    _say(f"{outcome.written} cases labelled; manifest: {outcome.manifest}")
    if outcome.failures:
        shown = "\n".join(f"  {message}" for message in outcome.failures)
        raise UserError(f"{len(outcome.failures)} cases cannot be labelled:\n{shown}")


def _evaluate(arguments: argparse.Namespace) -> None:
    from semilung.config import evaluation_config, load_run_config
    from semilung.data import prepare
    from semilung.evaluation import evaluate_cases, print_table, summarise, write_report
    from semilung.training import alike, load_predictor, split_cases, unseen_cases
    from semilung.training.audits import audit_evaluation

    settings = [word for word in arguments.runs if word.startswith("evaluation.")]
    runs = [Path(word) for word in arguments.runs if word not in settings]
    if not runs:
        raise UserError("evaluate needs a run folder: semilung evaluate RUN [evaluation.empty=...]")
    configs = [load_run_config(run) for run in runs]
    config = alike(configs)
    empty = evaluation_config(config.evaluation, settings).empty
    if arguments.manifest and not arguments.split:
        cases, what = unseen_cases(runs, configs, arguments.manifest), "manifest"
    else:
        what = arguments.split or "test"
        cases = split_cases(runs, configs, what, manifest=arguments.manifest)
    models = [load_predictor(run, arguments.checkpoint) for run in runs]
    out = arguments.out or runs[0] / f"evaluation-{what}-{arguments.checkpoint}"
    judged = prepare(cases, config.data)
    report = evaluate_cases(
        models,
        judged,
        window_hu=config.data.window_hu,
        config=config.inference,
        pictures=out / "overlays",
        progress=True,
    )
    write_report(report, out, empty=empty)
    print_table(summarise(report, empty=empty))
    for run, own in zip(runs, configs, strict=True):
        moved = arguments.manifest if arguments.split and run == runs[0] else None
        audit_evaluation(run, own, judged, what=what, manifest=moved)
    _say(f"tables: {out}")


def _report(arguments: argparse.Namespace) -> None:
    from semilung.report import write_html

    page = write_html(
        arguments.folders, arguments.out, split=arguments.split, figure=arguments.figure
    )
    _say(f"report: {page}")


def _predict(arguments: argparse.Namespace) -> None:
    from semilung.config import load_run_config
    from semilung.training import load_predictor, predict_files

    configs = [load_run_config(run) for run in arguments.runs]
    models = [load_predictor(run, arguments.checkpoint) for run in arguments.runs]
    written = predict_files(
        models,
        configs,
        arguments.scans,
        arguments.out,
        threshold=arguments.threshold,
        probability=arguments.probability,
        confident=arguments.confident if arguments.pseudo_labels else None,
        overwrite=arguments.overwrite,
    )
    for path in written:
        _say(str(path))


def _list(arguments: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from semilung.catalogue import catalogue, markdown

    if arguments.markdown:
        _say(markdown(arguments.kind))
        return
    table = Table("name", "what it does", "needs", box=None, pad_edge=False)
    for entry in catalogue(arguments.kind):
        table.add_row(*entry)
    console = Console()
    console.width = console.width if console.is_terminal else 160
    console.print(table, markup=False)
