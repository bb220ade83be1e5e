"""CT series of a folder with any tree of DICOM files, each with its patient's pseudonym."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from semilung.data.importers.dicom.tree import TreeSeries, dicom_tree
from semilung.types import UserError

PSEUDONYM = re.compile(r"LIDC-IDRI-\d{4}")
"""Public name of a patient. Any other patient id is replaced, for it may identify a person."""


def ct_series(source: Path) -> list[TreeSeries]:
    """Return every CT series below a folder that can be read as a volume.

    Raises:
        UserError: No series can be read, though there are slices.

    Warns:
        UserWarning: A series cannot be read as a volume, or is there twice; it is left out.
    """
    tree = dicom_tree(source)
    problems = [one.problem for one in tree.series if one.problem and one.files.is_volume]
    problems += map(str, tree.errors)
    if problems and not tree.volumes:
        raise UserError(problems[0])
    for problem in problems:
        warnings.warn(f"left out of the import: {problem}", stacklevel=2)
    return tree.volumes


def case_names(series: Sequence[TreeSeries]) -> list[tuple[str, str]]:
    """Return case and patient of each series.

    A case is named after its patient, with a number where the patient has several series, in the
    order of their UIDs. Patients without a pseudonym of the collection are numbered.
    """
    numbers: dict[str, str] = {}
    for one in series:
        if not PSEUDONYM.fullmatch(one.patient_key):
            numbers.setdefault(one.patient_key, f"patient-{len(numbers) + 1}")
    patients = [numbers.get(one.patient_key, one.patient_key) for one in series]
    total, rank = Counter(patients), Counter[str]()
    names = {}
    for uid, patient in sorted(
        (one.series_uid, p) for one, p in zip(series, patients, strict=True)
    ):
        rank[patient] += 1
        names[uid] = patient if total[patient] == 1 else f"{patient}_{rank[patient]}"
    return [(names[one.series_uid], p) for one, p in zip(series, patients, strict=True)]
