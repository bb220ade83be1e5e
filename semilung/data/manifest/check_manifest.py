"""Check of a manifest and its volumes (`semilung data check`): all errors and warnings at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from semilung.data.content.hounsfield import intensity_issue
from semilung.data.content.lungs import NO_LUNGS, LungSearch, find_lungs
from semilung.data.content.voxel_checks import Issue, label_issue, whole_labels
from semilung.data.data_config import DataConfig
from semilung.data.io.volume import Volume, labels_fit, read_volume, to_ras
from semilung.data.manifest.cases import Case, ManifestIssue, ScannedTable, scan_table
from semilung.data.manifest.mask_checks import MaskContent, mask_content, mask_issues
from semilung.data.manifest.nodule_checks import nodule_issues
from semilung.data.manifest.nodules import FILE_NAME
from semilung.data.manifest.split_warnings import split_doubts
from semilung.data.manifest.splits import assign_splits
from semilung.types import UserError

THREADS = 4
"""Volumes read at the same time; decompression releases the GIL."""


@dataclass
class CheckedCase:
    """A case after its volumes were read.

    Attributes:
        row: Row of the manifest.
        case: The case, with the split that training assigns by default.
        spacing_mm: Voxel size of the image; None where it could not be read.
        mask: Content of a labelled case's mask; None where it could not be read.
        issues: Column and issue of each error and warning.
    """

    row: int
    case: Case
    spacing_mm: tuple[float, float, float] | None = None
    mask: MaskContent | None = None
    issues: list[tuple[str, Issue]] = field(default_factory=list)


@dataclass(frozen=True)
class CaseVolumes:
    """Volumes of a checked case as stored; None where there is none, or none without errors.

    Attributes:
        image: The scan, also where its intensities are not HU.
        lungs: The search for lungs in it; None where its intensities are not HU.
        mask: Labels of a labelled or healthy case.
        anatomy: Labels of the anatomy.
    """

    image: Volume | None
    lungs: LungSearch | None
    mask: Volume | None
    anatomy: Volume | None


@dataclass(frozen=True)
class ManifestCheck:
    """Result of `examine_manifest`.

    Attributes:
        errors: Issues that have to be fixed, sorted by row.
        warnings: Issues to look at, sorted by row; row 0 stands for the manifest as a whole.
        cases: The cases of all valid rows.
    """

    errors: list[ManifestIssue]
    warnings: list[ManifestIssue]
    cases: list[CheckedCase]


def check_manifest(path: str | os.PathLike[str]) -> list[ManifestIssue]:
    """Return the errors of a manifest and its volumes; see `examine_manifest`."""
    return examine_manifest(path).errors


def examine_manifest(path: str | os.PathLike[str]) -> ManifestCheck:
    """Read every volume that a manifest names, once, and list all errors and warnings.

    Errors are a missing column, an empty or unknown value, a duplicate case, a patient in two
    splits, a volume that is missing, unreadable, truncated or empty, intensities that are NaN or
    not HU, a mask or anatomy on another grid or with labels other than 0 to 255, a healthy case
    with a non-empty mask, a scan-level label that contradicts the mask, and masks of 0 and 255
    only. Warnings are doubtful HU, a scan without lungs, a labelled case without a nodule, and
    roles or cohorts that the splits leave unevaluated. Masks of unlabelled and weak rows are not
    opened, because they are never used.

    Raises:
        UserError: There is no manifest, or it is not a CSV.
    """
    table = scan_table(path)
    rows = table.cases
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        checked = list(pool.map(_checked, *zip(*rows, strict=True))) if rows else []
    return complete_check(table, checked)


def complete_check(table: ScannedTable, checked: list[CheckedCase]) -> ManifestCheck:
    """Gather the issues of a table and of its checked cases, and add those of the whole cohort."""
    issues: dict[str, list[ManifestIssue]] = {"error": table.errors, "warning": []}
    for item in checked:
        case = item.case
        for column, issue in item.issues:
            issues[issue.severity].append(ManifestIssue(item.row, case.case, column, issue.message))
    for issue in _whole_issues(checked):
        issues[issue.severity].append(ManifestIssue(0, "", "", issue.message))
    issues["warning"] += _stray_nodules(table.stray)
    return ManifestCheck(sorted(issues["error"]), sorted(issues["warning"]), checked)


def _stray_nodules(stray: Sequence[str]) -> Iterator[ManifestIssue]:
    """A warning of nodules whose case the manifest lacks."""
    if stray:
        yield ManifestIssue(
            0,
            "",
            FILE_NAME,
            f"lists nodules of {len(stray)} cases that are not in this manifest, or have errors: "
            f"{', '.join(stray[:5])}",
        )


def check_case(row: int, case: Case) -> tuple[CheckedCase, CaseVolumes]:
    """Read and check the volumes of one case, and return them with its issues."""
    item = CheckedCase(row, case)
    image: Volume | None = None
    lungs: LungSearch | None = None
    try:
        image = read_volume(case.image)
        item.spacing_mm = image.spacing_mm
        lungs = _search_lungs(item, image)
    except (UserError, MemoryError) as error:
        item.issues.append(("image", Issue("error", str(error) or "out of memory")))
    mask = _labels(item, "mask", case.mask if case.role in ("labelled", "healthy") else None, image)
    anatomy = _labels(item, "anatomy", case.anatomy, image)
    if image is not None and case.nodules:
        for name, issue in nodule_issues(case.nodules, image, mask):
            item.issues.append((f"{FILE_NAME}, nodule {name!r}" if name else FILE_NAME, issue))
    return item, CaseVolumes(image, lungs, mask, anatomy)


def _checked(row: int, case: Case) -> CheckedCase:
    return check_case(row, case)[0]


def _labels(item: CheckedCase, name: str, path: Path | None, image: Volume | None) -> Volume | None:
    """Read and check a label map; None where there is none, or none without errors."""
    if path is None:
        return None
    try:
        labels = read_volume(path)
        issues = list(_label_issues(item, name, path, labels, image))
    except (UserError, MemoryError) as error:
        issues = [Issue("error", str(error) or "out of memory")]
    item.issues.extend((name, issue) for issue in issues)
    return None if any(issue.severity == "error" for issue in issues) else labels


def _search_lungs(item: CheckedCase, image: Volume) -> LungSearch | None:
    """Check intensities and lungs of an image; the lungs of what is not HU are not searched."""
    issue = intensity_issue(image.data)
    if issue is not None:
        item.issues.append(("image", issue))
        if issue.severity == "error":
            return None
    search = find_lungs(to_ras(image))
    if search.lacking:
        item.issues.append(("image", Issue("warning", NO_LUNGS)))
    return search


def _label_issues(
    item: CheckedCase, name: str, path: Path, labels: Volume, image: Volume | None
) -> Iterator[Issue]:
    if (issue := label_issue(labels.data)) is not None:
        yield issue
        return
    if image is not None and not labels_fit(path, labels, image):
        yield _grid_issue(labels, image)
    if name == "mask":
        content = mask_content(Volume(whole_labels(labels.data), labels.affine))
        item.mask = content
        yield from mask_issues(content, item.case)


def _grid_issue(labels: Volume, image: Volume) -> Issue:
    if sorted(labels.shape) != sorted(image.shape):
        return Issue(
            "error",
            f"shape {labels.shape} is not the image's {image.shape}; resample it onto the image",
        )
    return Issue(
        "error", "affine is not the image's: its voxels lie elsewhere; resample it onto the image"
    )


def _whole_issues(checked: Sequence[CheckedCase]) -> Iterator[Issue]:
    """Yield the issues of the cohort as a whole: its labels and its splits."""
    masks = [item.mask for item in checked if item.case.role == "labelled" and item.mask]
    if masks and not any(mask.diameters_mm for mask in masks):
        if any(mask.ignored for mask in masks):
            yield Issue("error", ALL_IGNORED)
        else:
            yield Issue("warning", f"none of the {len(masks)} masks marks a nodule (1 to 254)")
    without = [item.case for item in checked if item.case.role == "labelled"]
    without = [case for case in without if case.mask is None]
    if without:
        yield Issue(
            "warning",
            f"{len(without)} labelled cases have nodules but no mask: segmentation neither learns "
            f"from their voxels nor is evaluated on them",
        )
    defaults = DataConfig()
    split = assign_splits(
        [item.case for item in checked],
        seed=0,
        val_fraction=defaults.val_fraction,
        test_fraction=defaults.test_fraction,
    )
    for item, case in zip(checked, split, strict=True):
        item.case = case
    yield from (Issue("warning", doubt) for doubt in split_doubts(split))


ALL_IGNORED = (
    "the masks of labelled cases hold only 0 and 255, which means ignore, so that no nodule is "
    "left; did you mean 1? Save the masks with 0 and 1"
)
