"""Files that are written of predicted scans: their names, and whether they can be written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from semilung.data.io.volume import stem_of
from semilung.types import UserError


def output(out: Path, name: str, kind: str) -> Path:
    """The file of one kind of volume (`nodules`) or of a table (`findings.csv`) of a scan.

    Example:
        >>> output(Path("out"), "chest", "nodules").as_posix()
        'out/chest_nodules.nii.gz'
    """
    return out / f"{name}_{kind}{'' if '.' in kind else '.nii.gz'}"


def output_names(
    scans: Sequence[Path], out: Path, kinds: Sequence[str], *, overwrite: bool
) -> dict[Path, str]:
    """Each scan's name in `out`, once it is sure that its files can be written there.

    Args:
        scans: Files, or folders of DICOM slices.
        out: Folder of the files.
        kinds: What is written of each scan; the first kind is the last that is written.
        overwrite: Whether outputs that exist are written anew.

    Raises:
        UserError: Two scans have one name, a name is too long, an output exists, or the folder
            cannot be written.
    """
    names = {scan: stem_of(scan) for scan in scans}
    if len(set(names.values())) < len(names):
        msg = f"two scans would be written under one name in {out}: {sorted(names.values())}"
        raise UserError(f"{msg}; write them into two folders (--out), or rename one")
    longest = _longest_name(out)
    for name in names.values():
        size = max(len(os.fsencode(output(out, name, kind).name)) for kind in kinds)
        if size > longest:
            raise UserError(
                f"the name {name} is too long: its files in {out} would have names of {size} "
                f"bytes, and {longest} are allowed. Give the scan a shorter name"
            )
    present = [n for n in names.values() if output(out, n, kinds[0]).exists()]
    if present and not overwrite:
        msg = (
            f"{out} has {kinds[0]} of {', '.join(present)} already; add --overwrite "
            f"(overwrite=True in Python) to replace them"
        )
        raise UserError(msg)
    return names


def _longest_name(out: Path) -> int:
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
