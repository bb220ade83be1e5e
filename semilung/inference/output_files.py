"""Files that are written of predicted scans: their names, and whether they can be written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from semilung.data.io.volume import WRITERS, stem_of
from semilung.types import UserError

DICOM = "dcm"
"""Format of masks as DICOM SEG, which only a DICOM series can have."""

FORMATS = (*(suffix.removeprefix(".") for suffix in WRITERS), DICOM)
"""Formats of volumes, by the ending of their files; the first is the default."""

MASK, TABLE, JSON, PAGE = "nodules", "findings.csv", "findings.json", ".html"
"""The kinds of a scan's mask, of its findings as a table and as JSON, and of its page."""


def output(out: Path, name: str, kind: str, format_: str = FORMATS[0]) -> Path:
    """The file of a scan of one kind: a volume (`nodules`), or an ending (`findings.csv`).

    As DICOM only a mask is written; other volumes are then written in the default format.

    Example:
        >>> [output(Path("out"), "chest", kind).name for kind in ("nodules", "findings.csv", PAGE)]
        ['chest_nodules.nii.gz', 'chest_findings.csv', 'chest.html']
        >>> [output(Path("out"), "chest", kind, "dcm").name for kind in ("nodules", "probability")]
        ['chest_nodules.dcm', 'chest_probability.nii.gz']
    """
    if kind.startswith("."):
        return out / f"{name}{kind}"
    if "." in kind:
        return out / f"{name}_{kind}"
    return out / f"{name}_{kind}.{FORMATS[0] if format_ == DICOM and kind != MASK else format_}"


def written_kinds(kinds: Sequence[str], format_: str, *, page: bool = False) -> list[str]:
    """Return what is written of each scan, the file that is written last first.

    Findings are written as JSON too. A DICOM SEG is not always written (a scan may have no
    findings), so that the table is the last file then.

    Args:
        kinds: Outputs of the tasks.
        format_: One of `FORMATS`.
        page: Whether a page shows the findings.

    Raises:
        UserError: The kinds lack what the format or the page needs.

    Example:
        >>> written_kinds(["nodules", "findings.csv"], "dcm", page=True)
        ['findings.csv', 'nodules', 'findings.json', '.html']
    """
    if TABLE not in kinds:
        if page or format_ == DICOM:
            raise UserError(
                f"a page (--page) and a DICOM SEG (--format {DICOM}) show findings, which no task "
                f"of this run predicts; leave the option out"
            )
        return list(kinds)
    at = kinds.index(TABLE) + 1
    kinds = [*kinds[:at], JSON, *([PAGE] if page else []), *kinds[at:]]
    return sorted(kinds, key=lambda kind: kind != TABLE) if format_ == DICOM else kinds


def output_names(
    scans: Sequence[Path],
    out: Path,
    kinds: Sequence[str],
    *,
    overwrite: bool,
    format_: str = FORMATS[0],
) -> dict[Path, str]:
    """Each scan's name in `out`, once it is sure that its files can be written there.

    Args:
        scans: Files, or folders of DICOM slices.
        out: Folder of the files.
        kinds: What is written of each scan; the first kind is the last that is written.
        overwrite: Whether outputs that exist are written anew.
        format_: Of the volumes.

    Raises:
        UserError: Two scans have one name, a name is too long or that of another file, an output
            exists, or the folder cannot be written.
    """
    names = {scan: stem_of(scan) for scan in scans}
    if len(set(names.values())) < len(names):
        msg = f"two scans would be written under one name in {out}: {sorted(names.values())}"
        raise UserError(f"{msg}; write them into two folders (--out), or rename one")
    if PAGE in kinds and "index" in names.values():
        raise UserError(
            "a scan named index has the page index.html, which lists the pages of all scans; "
            "rename it, or write no page of it"
        )
    longest = longest_name(out)
    for name in names.values():
        size = max(len(os.fsencode(output(out, name, kind, format_).name)) for kind in kinds)
        if size > longest:
            raise UserError(
                f"the name {name} is too long: its files in {out} would have names of {size} "
                f"bytes, and {longest} are allowed. Give the scan a shorter name"
            )
    # findings are the same file in every format, so a mask in another one counts too
    present = [
        name
        for name in names.values()
        if any(output(out, name, kinds[0], other).exists() for other in FORMATS)
    ]
    if present and not overwrite:
        msg = (
            f"{out} has {kinds[0]} of {', '.join(present)} already; add --overwrite "
            f"(overwrite=True in Python) to replace them"
        )
        raise UserError(msg)
    return names


def longest_name(out: Path) -> int:
    """Bytes that a name in a folder, which may have to be made, can have.

    Raises:
        UserError: The folder cannot be made, or not be written to.
    """
    try:
        place = next(place for place in (out, *out.absolute().parents) if place.exists())
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(f"{place} is no folder that may be written to")
        return os.pathconf(place, "PC_NAME_MAX")
    except OSError as error:
        raise UserError(f"{out} could not be written: {error}. Choose another --out") from error
