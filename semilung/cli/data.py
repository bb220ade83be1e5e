"""`semilung data ...`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from semilung.cli.data_import import add_import
from semilung.cli.export import add_data_export
from semilung.cli.messages import say
from semilung.cli.scheduler import add_scheduler
from semilung.types import UserError


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `semilung data`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="data_command")
    phantom = commands.add_parser("phantom", help="make a cohort of procedural chest CTs")
    phantom.add_argument("out", type=Path, help="new folder for the scans and manifest.csv")
    phantom.add_argument("--scans", type=int, default=24)
    phantom.add_argument("--size", type=int, default=64, help="voxels along each axis")
    phantom.add_argument("--spacing-mm", type=float, default=2.5)
    phantom.add_argument("--seed", type=int, default=0)
    phantom.set_defaults(run=_data_phantom)
    check = commands.add_parser(
        "check", help="list errors of a manifest and its volumes, and sum up"
    )
    check.add_argument("manifest", type=Path)
    check.set_defaults(run=_data_check)
    prepare = commands.add_parser("prepare", help="fill the cache of resampled volumes")
    prepare.add_argument("manifest", type=Path, help="and settings of data, as in train, that "
                         "preparation reads: spacing_mm=[2,2,2]")  # fmt: skip
    prepare.add_argument("--verify", action="store_true", help="hash what the cache holds")
    prepare.add_argument("--processes", type=int, help="cases at a time; one a core, at most 8")
    add_scheduler(prepare)
    prepare.set_defaults(run=_data_prepare)
    anatomy = commands.add_parser("anatomy", help="label coarse anatomy where a manifest has none")
    anatomy.add_argument("manifest", type=Path)
    anatomy.add_argument("--out", type=Path, help="default: anatomy, next to the manifest")
    anatomy.add_argument("--lungs", choices=["classical", "lungmask"], default="classical")
    anatomy.add_argument("--overwrite", action="store_true", help="make all anatomy anew")
    add_scheduler(anatomy)
    anatomy.set_defaults(run=_data_anatomy)
    report = commands.add_parser(
        "report", help="write a page to look at: scans, nodules, outliers, confounds"
    )
    report.add_argument("manifest", type=Path)
    report.add_argument("--out", type=Path, help="default: <name>_report.html next to the manifest")
    report.set_defaults(run=_data_report)
    add_import(commands)
    add_data_export(commands)


def _data_phantom(arguments: argparse.Namespace) -> None:
    from semilung.api.phantom import phantom

    manifest = phantom(
        arguments.out,
        scans=arguments.scans,
        size=arguments.size,
        spacing_mm=arguments.spacing_mm,
        seed=arguments.seed,
    )
    say(f"manifest: {manifest}")


def _data_check(arguments: argparse.Namespace) -> None:
    from semilung.api.check import check

    examination = check(arguments.manifest)
    errors, warnings = examination.check.errors, examination.check.warnings
    for title, issues in (("error", errors), ("warning", warnings)):
        for issue in issues:
            place = f"row {issue.row}  {issue.case}  {issue.field}: " if issue.row else ""
            say(f"{title}  {place}{issue.message}")
    width = max(20, *(len(name) + 2 for name, _ in examination.summary))
    for name, value in examination.summary:
        say(f"{name:<{width}}{value}")
    if errors:
        raise UserError(
            f"{arguments.manifest}: {_counted(errors, 'error')}, {_counted(warnings, 'warning')}, "
            f"listed above; fix the errors"
        )
    say(f"{arguments.manifest}: no error, {_counted(warnings, 'warning')}")


def _data_report(arguments: argparse.Namespace) -> None:
    from semilung.api.cohort_report import cohort_report

    page = cohort_report(arguments.manifest, out=arguments.out, progress=True)
    say(f"{page.verdict}\npage: {page.path}")


def _counted(items: Sequence[object], name: str) -> str:
    return f"{len(items)} {name}{'' if len(items) == 1 else 's'}"


def _data_prepare(arguments: argparse.Namespace) -> None:
    from semilung.api.prepare import prepare

    cases, folder = prepare(
        arguments.manifest,
        settings=arguments.settings,
        verify=arguments.verify,
        processes=arguments.processes,
        scheduler=arguments.scheduler,
    )
    say(f"{len(cases)} cases are prepared in {folder}")


def _data_anatomy(arguments: argparse.Namespace) -> None:
    from semilung.api.anatomy import anatomy

    outcome = anatomy(
        arguments.manifest,
        out=arguments.out,
        overwrite=arguments.overwrite,
        lungs=arguments.lungs,
        progress=True,
        scheduler=arguments.scheduler,
    )
    say(f"{outcome.written} cases labelled; manifest: {outcome.manifest}")
    if outcome.failures:
        shown = "\n".join(f"  {message}" for message in outcome.failures)
        raise UserError(f"{len(outcome.failures)} cases cannot be labelled:\n{shown}")
