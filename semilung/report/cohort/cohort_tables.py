"""Tables of a cohort: its parts, scanners, nodules, confounds and issues."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from semilung.data.manifest.check_manifest import ManifestCheck
from semilung.data.manifest.manifest_summary import SIZES_MM
from semilung.report.cohort.cohort_findings import shown_auc
from semilung.report.cohort.cohort_plots import by_cohort
from semilung.report.cohort.confounds import Confounds
from semilung.report.cohort.scan_survey import ScanSurvey
from semilung.report.formatting import NONE, listed, number, without_folders
from semilung.report.metric_tables import Table
from semilung.types import ROLES, SPLITS

MOST_ISSUES = 100
NOT_KNOWN = "not known"

_PATIENT = re.compile(r"""patient ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
"""A patient as a message quotes it by repr."""


def _table(
    name: str,
    caption: str,
    header: list[str],
    rows: list[list[str]],
    *,
    text: int = 1,
    note: str = "",
) -> Table:
    return Table(name, caption, header, rows, pd.DataFrame(rows, columns=header), text, note)


def roles_table(surveys: Sequence[ScanSurvey]) -> Table:
    """Scans and patients by cohort, role and split."""
    rows = []
    for cohort, members in by_cohort(surveys).items():
        for role in ROLES:
            cases = [survey.case for survey in members if survey.case.role == role]
            if cases:
                splits = Counter(case.split for case in cases)
                patients = len({case.patient for case in cases})
                rows.append(
                    [
                        cohort,
                        role,
                        str(len(cases)),
                        str(patients),
                        *(str(splits[s]) for s in SPLITS),
                    ]
                )
    budget = sum(s.case.role == "labelled" and s.case.split == "train" for s in surveys)
    note = (
        f"Splits are the manifest's, or else those that training assigns by default. Labelled "
        f"budget: data.labelled=1 to {budget}."
        if budget
        else "There is no labelled training case."
    )
    header = ["cohort", "role", "scans", "patients", *SPLITS]
    return _table("roles", "Scans by cohort, role and split", header, rows, text=2, note=note)


def scanners_table(surveys: Sequence[ScanSurvey]) -> Table:
    """Voxel size, thickness, manufacturer and kernel of each cohort."""
    rows = []
    for cohort, members in by_cohort(surveys).items():
        read = [survey for survey in members if survey.shape is not None]
        thickness = [survey.scanner.thickness_mm for survey in read]
        rows.append(
            [
                cohort,
                _counted(read, lambda survey: survey.scanner.manufacturer),
                _counted(read, lambda survey: survey.scanner.kernel),
                str(len(read)),
                _span([survey.spacing_mm[0] for survey in read]),
                _span([survey.spacing_mm[2] for survey in read]),
                _span([mm for mm in thickness if mm is not None]) or NOT_KNOWN,
            ]
        )
    header = ["cohort", "manufacturer", "kernel", "scans", "pixel (mm)", "distance of slices (mm)",
              "slice thickness (mm)"]  # fmt: skip
    note = (
        "Medians, with the smallest and largest value. Manufacturer, kernel and thickness are "
        "those of DICOM headers; a manifest of other formats may have the columns manufacturer "
        "and kernel. No other tag is read."
    )
    return _table("scanners", "Voxels and scanners", header, rows, text=3, note=note)


def _counted(surveys: Sequence[ScanSurvey], word: Callable[[ScanSurvey], str]) -> str:
    counts = Counter(word(survey) or NOT_KNOWN for survey in surveys)
    return listed(
        [name if len(counts) == 1 else f"{name} {count}" for name, count in counts.most_common()], 6
    )


def _span(values: Sequence[float]) -> str:
    if not values:
        return ""
    low, middle, high = np.quantile(values, (0, 0.5, 1))
    if f"{low:.2f}" == f"{high:.2f}":
        return number(middle, 2)
    return f"{number(middle, 2)} ({number(low, 2)} to {number(high, 2)})"


def sizes_table(surveys: Sequence[ScanSurvey]) -> Table | None:
    """Nodules of each cohort by size class."""
    limits = [0, *SIZES_MM]
    rows = []
    for cohort, members in by_cohort(surveys).items():
        nodules = [nodule for survey in members for nodule in survey.nodules]
        measured = [nodule.diameter_mm for nodule in nodules if nodule.diameter_mm]
        bins = np.bincount(np.digitize(measured, SIZES_MM), minlength=len(limits))
        if nodules:
            scans = sum(bool(survey.nodules) for survey in members)
            unmeasured = len(nodules) - len(measured)
            rows.append([cohort, str(scans), str(len(nodules)), *map(str, bins), str(unmeasured)])
    if not rows:
        return None
    names = [f"below {SIZES_MM[0]} mm", *(f"{a} to {b} mm" for a, b in pairwise(SIZES_MM)),
             f"{SIZES_MM[-1]} mm or more"]  # fmt: skip
    header = ["cohort", "scans", "nodules", *names, "not measured"]
    return _table("sizes", "Nodules by diameter", header, rows)


def confounds_table(confounds: Confounds) -> Table | None:
    """What healthy patients and those with nodules are like, and how well it separates them."""
    rows = [
        [
            one.name,
            number(one.healthy, one.digits),
            number(one.nodules, one.digits),
            NONE if one.auc is None else shown_auc(one.auc),
        ]
        for one in sorted(confounds.separations, key=lambda s: -(s.auc.value if s.auc else 0))
    ]
    if not rows:
        return None
    note = (
        "Medians over patients. AUC of one property alone, with its 95 % interval: 0.5 is chance, "
        "1 separates every pair of patients. Crops of 16 voxels a side, of lung without nodules, "
        "as stored."
    )
    header = ["property", "healthy", "with nodules", "AUC (95 % interval)"]
    return _table(
        "confounds", "Properties of the scans, apart from nodules", header, rows, note=note
    )


def anonymous(message: str) -> str:
    """Return a message without folders and patients, which a shared page need not name.

    Example:
        >>> anonymous("/data/doe/m.csv: patient 'Doe' is in train here and in val in row 3")
        "…/m.csv: patient '…' is in train here and in val in row 3"
    """
    return _PATIENT.sub("patient '…'", without_folders(message))


def issues_table(check: ManifestCheck) -> Table | None:
    """Errors and warnings, without the folders of files."""
    issues = [("✕ error", one) for one in check.errors]
    issues += [("▲ warning", one) for one in check.warnings]
    rows = [
        [kind, one.case or "cohort", one.field, anonymous(one.message)]
        for kind, one in issues[:MOST_ISSUES]
    ]
    if not rows:
        return None
    left = len(issues) - len(rows)
    note = f"{left} more are left out; semilung data check lists them all." if left else ""
    return _table("issues", "Errors and warnings", ["kind", "case", "column", "message"], rows,
                  text=4, note=note)  # fmt: skip
