"""Everything wrong with a manifest and its volumes, told at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from semilung.data.faults import label_issue
from semilung.data.hounsfield import intensity_issue
from semilung.data.manifest import Case, Fault, scan_table
from semilung.data.volume import Volume, labels_fit, read_volume
from semilung.types import UserError

THREADS = 4
"""Volumes read at the same time; decompression lets go of Python's lock."""


def check_manifest(path: str | os.PathLike[str]) -> list[Fault]:
    """Read every volume that a manifest names and list what is wrong, sorted by row.

    Tells a missing column, an empty or unknown value, a case named twice, a patient in two splits,
    a volume that is missing, unreadable, truncated or empty, intensities that are NaN or no HU, a
    mask or anatomy of another shape or affine or with labels other than 0 to 255, and a healthy
    case with a non-empty mask. A mask that an unlabelled or weak row names is not opened: it is
    never used.

    Raises:
        UserError: There is no manifest, or it is not a CSV.
    """
    cases, faults = scan_table(path)
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        for found in pool.map(lambda item: list(_case_faults(*item)), cases):
            faults.extend(found)
    return sorted(faults)


def _case_faults(row: int, case: Case) -> Iterator[Fault]:
    for name, message in _volume_faults(case):
        yield Fault(row, case.case, name, message)


def _volume_faults(case: Case) -> Iterator[tuple[str, str]]:
    image = _read(case.image)
    if isinstance(image, str):
        yield "image", image
    elif (issue := intensity_issue(image.data)) is not None and issue.severity == "error":
        yield "image", issue.message
    mask = case.mask if case.role in ("labelled", "healthy") else None
    for name, path in (("mask", mask), ("anatomy", case.anatomy)):
        if path is None:
            continue
        labels = _read(path)
        if isinstance(labels, str):
            yield name, labels
            continue
        yield from ((name, text) for text in _label_faults(path, labels, image))
        if name == "mask" and case.role == "healthy" and (labels.data != 0).any():
            yield name, f"a healthy case holds no nodule, but {path} has voxels that are not 0"


def _label_faults(path: Path, labels: Volume, image: Volume | str) -> Iterator[str]:
    issue = label_issue(labels.data)
    if issue is not None:
        yield issue.message
    if not isinstance(image, Volume) or labels_fit(path, labels, image):
        return
    if sorted(labels.shape) != sorted(image.shape):
        yield f"shape {labels.shape} is not the image's {image.shape}"
    else:
        yield "affine is not the image's: its voxels lie elsewhere; resample it onto the image"


def _read(path: Path) -> Volume | str:
    """The volume, or why it cannot be read."""
    try:
        return read_volume(path)
    except UserError as error:
        return str(error)
