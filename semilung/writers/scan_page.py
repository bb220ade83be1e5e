"""One self-contained page a scan, and an index of the pages in a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment

from semilung import __version__
from semilung.arm_names import printable
from semilung.evaluation.overlay import LUNG_WINDOW_HU, png_bytes
from semilung.files import write_text
from semilung.html_templates import data_uri, template_environment
from semilung.inference.output_files import PAGE, output
from semilung.writers.finding_pictures import EDGE_MM, finding_thumbnail
from semilung.writers.findings_folder import scan_records
from semilung.writers.findings_json import findings_record
from semilung.writers.lung_position import axial_axis, axial_slices, finding_positions
from semilung.writers.scan_result import NOT_A_DEVICE, ScanResult, described

INDEX = "index.html"

MAX_ROWS = 200
"""Most findings in the table of a page, the first of them."""

_TIMES = " \N{MULTIPLICATION SIGN} "


def write_scan_page(
    path: str | os.PathLike[str], result: ScanResult, pictures: Sequence[bytes]
) -> None:
    """Write the page of a scan: what was predicted, a table of the findings, and their pictures.

    Args:
        path: The page; its pictures are part of it, and it needs no other file and no script.
        result: The scan's findings.
        pictures: Of the first findings, each a PNG.

    Raises:
        UserError: The file cannot be written; an existing one is untouched.
    """
    shown = result.findings.head(MAX_ROWS)
    record = findings_record(result, mask=None, labelled=False)
    positions = finding_positions(shown, result.volume)
    slices = axial_slices(shown, result.volume)
    rows = [
        {
            **finding,
            "position": position,
            "slice": slice_,
            "volume": _volume(finding["volume_mm3"]),
            "described": described(finding, result.descriptions),
        }
        for finding, position, slice_ in zip(record["findings"], positions, slices, strict=False)
    ]
    with_picture = shown.head(len(pictures)).to_dict("records")
    page = (
        _environment()
        .get_template("scan.html.j2")
        .render(
            record=record,
            name=printable(result.name),
            rows=rows,
            placed=any(positions),
            count=len(result.findings),
            pictures=[data_uri("png", picture) for picture in pictures],
            thumbnails=[
                data_uri("png", png_bytes(finding_thumbnail(result, r))) for r in with_picture
            ],
            frame=result.frame.upper(),
            centres=result.centres,
            slices=result.volume.shape[axial_axis(result.volume)],
            shape=_TIMES.join(map(str, result.volume.shape)),
            spacing=_TIMES.join(f"{mm:.3g}" for mm in result.volume.spacing_mm),
            window=LUNG_WINDOW_HU,
            edge_mm=EDGE_MM,
            outlined=result.labels is not None,
            notice=NOT_A_DEVICE,
            version=__version__,
        )
    )
    write_text(path, page)


def _volume(volume_mm3: float) -> str:
    """Return a volume as it is spoken of: in ml from 1 ml on.

    Example:
        >>> _volume(268.1), _volume(14137.2)
        ('268 mm³', '14.1 ml')
    """
    return f"{volume_mm3:.0f} mm³" if volume_mm3 < 1000 else f"{volume_mm3 / 1000:.1f} ml"


def write_index(folder: Path) -> Path:
    """Write `index.html`: the scans of a folder that have a page, with the counts of findings.

    Pages of earlier predictions into the folder are listed too.

    Raises:
        UserError: The file cannot be written; an existing one is untouched.
    """
    scans = list(_scans(folder))
    names = dict.fromkeys(name for scan in scans for name in scan["described"])
    page = (
        _environment()
        .get_template("index.html.j2")
        .render(scans=scans, descriptions=list(names), notice=NOT_A_DEVICE, version=__version__)
    )
    write_text(folder / INDEX, page)
    return folder / INDEX


def _scans(folder: Path) -> Iterable[dict[str, Any]]:
    """Yield the row of each scan that has a page; damaged files are left out."""
    for name, record in scan_records(folder):
        page = output(folder, name, PAGE)
        try:
            findings = record["findings"]
            sizes_mm, probabilities = (
                [float(finding[key]) for finding in findings]
                for key in ("diameter_mm", "probability")
            )
            descriptions = {
                name: _overview([finding.get(name) for finding in findings])
                for name in record.get("descriptions", {})
            }
        except (KeyError, TypeError, ValueError):
            continue
        if page.is_file():
            yield {
                "name": printable(name),
                "href": quote(page.name),
                "count": len(findings),
                "largest_mm": max(sizes_mm, default=None),
                "probability": max(probabilities, default=None),
                "described": descriptions,
                "run": record.get("run"),
            }


def _overview(values: Sequence[Any]) -> str:
    """Return the highest of a scan's numbers, or the number of findings of each class.

    Example:
        >>> _overview([2.5, None, 3.25]), _overview(["solid", "part_solid", "solid"])
        ('3.25', '2 solid, 1 part_solid')
    """
    present = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in present):
        return ", ".join(f"{n} {name}" for name, n in Counter(map(str, present)).most_common())
    return described({"": max(present)}, {"": ""})[""] if present else ""


def _environment() -> Environment:
    return template_environment("semilung.writers")
