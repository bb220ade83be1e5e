"""`semilung data import`, `scan` and `merge`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semilung.cli.messages import say

if TYPE_CHECKING:
    from semilung.api.imports import SeriesRow


def add_import(commands: Any) -> None:
    """Add the commands by which a user's data become a manifest."""
    importer = commands.add_parser(
        "import", help="write the manifest of data in one of the field's formats"
    )
    importer.add_argument("format", help="`semilung list formats` has all and their options")
    importer.add_argument("source", type=Path, help="the data's folder or table")
    importer.add_argument("out", type=Path, help="folder of manifest.csv, and settings of the "
                          "format, such as patient='(P[0-9]+)'")  # fmt: skip
    importer.add_argument("--role", help="role of all scans instead of the format's, as healthy")
    importer.add_argument("--cohort", help="name of the cohort; the source's by default")
    importer.add_argument("--key", type=Path, help="file of the pseudonyms' key, of the formats of "
                          "DICOM; OUT.key by default")  # fmt: skip
    importer.add_argument("--overwrite", action="store_true", help="replace an existing manifest")
    importer.set_defaults(run=_data_import)
    scan = commands.add_parser("scan", help="list the DICOM series of a folder, and what they are")
    scan.add_argument("folder", type=Path, help="any tree of DICOM files")
    scan.add_argument("--csv", type=Path, metavar="FILE", help="write the list as a table too")
    scan.set_defaults(run=_data_scan)
    merge = commands.add_parser("merge", help="make one manifest of several")
    merge.add_argument("manifests", type=Path, nargs="+", metavar="manifest")
    merge.add_argument("--out", type=Path, required=True, help="the new manifest")
    merge.add_argument("--overwrite", action="store_true", help="replace an existing manifest")
    merge.set_defaults(run=_data_merge)


def _data_import(arguments: argparse.Namespace) -> None:
    from semilung.api.imports import import_data

    manifest, cases = import_data(
        arguments.format,
        arguments.source,
        arguments.out,
        role=arguments.role,
        cohort=arguments.cohort,
        settings=arguments.settings,
        key=arguments.key,
        overwrite=arguments.overwrite,
    )
    roles = Counter(case.role for case in cases)
    counts = ", ".join(f"{count} {role}" for role, count in roles.items())
    say(f"{counts}; manifest: {manifest}\ncheck it: semilung data check {manifest}")


def _data_scan(arguments: argparse.Namespace) -> None:
    from semilung.api.imports import scan

    rows = scan(arguments.folder, csv=arguments.csv)
    say(_listing(rows))
    studies = len({row.study for row in rows})
    usable = sum(row.kind == "CT" and not row.problem for row in rows)
    say(f"{len(rows)} series of {studies} studies, {usable} can be imported")
    if arguments.csv is not None:
        say(f"table: {arguments.csv}")


def _listing(rows: Sequence[SeriesRow]) -> str:
    """Return lines: each folder, and its series below it."""
    lines: list[str] = []
    for k, row in enumerate(rows):
        if k == 0 or row.folder != rows[k - 1].folder:
            lines.append(f"{row.folder}")
        lines.append(f"  study {row.study}  series {row.series}: {_described(row)}")
    return "\n".join(lines)


def _described(row: SeriesRow) -> str:
    if row.kind != "CT":
        return f"{row.kind}, {row.slices} {'file' if row.slices == 1 else 'files'}"
    kernel = f"{row.kernel or '?'} ({row.kernel_kind})"
    parts = [
        f"CT, {row.slices} slices",
        f"every {row.step_mm:.4g} mm" if row.step_mm else "",
        f"{row.thickness_mm:.4g} mm thick" if row.thickness_mm else "",
        f"pixels {row.pixel_mm:.3g} mm" if row.pixel_mm else "",
        f"kernel {kernel}",
        row.manufacturer,
    ]
    described = ", ".join(part for part in parts if part)
    return f"{described}\n    cannot be imported: {row.problem}" if row.problem else described


def _data_merge(arguments: argparse.Namespace) -> None:
    from semilung.api.imports import merge

    manifest = merge(arguments.manifests, arguments.out, overwrite=arguments.overwrite)
    say(f"manifest: {manifest}")
