"""The page on a cohort: one self-contained HTML file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track

from semilung import __version__
from semilung.data.content.voxel_checks import Issue
from semilung.data.manifest.cases import Case, scan_table
from semilung.data.manifest.check_manifest import (
    ManifestCheck,
    check_case,
    complete_check,
)
from semilung.files import write_text
from semilung.html_templates import data_uri
from semilung.report.cohort import cohort_plots as plots
from semilung.report.cohort import cohort_tables as tables
from semilung.report.cohort.cohort_findings import SYMBOLS, list_findings, shown_auc, verdict
from semilung.report.cohort.confounds import compare_sides
from semilung.report.cohort.outliers import Outlier, list_outliers
from semilung.report.cohort.scan_survey import ScanSurvey, survey_scan
from semilung.report.page_environment import page_environment
from semilung.types import ROLES, UserError

MOST_THUMBNAILS, MOST_OUTLIERS = 48, 60


class CohortPage(NamedTuple):
    """The page that was written, its first sentence, and the check of its manifest."""

    path: Path
    verdict: str
    check: ManifestCheck


class Thumbnail(NamedTuple):
    """A scan's picture as a data URI, empty where there is none, with its caption."""

    case: str
    source: str
    alt: str
    facts: str
    unusual: bool = False
    reasons: Sequence[str] = ()


def write_cohort_page(manifest: Path, out: Path, *, progress: bool = True) -> CohortPage:
    """Survey a cohort, one scan in memory at a time, and write its page.

    A scan that cannot be read is listed and stops nothing. The page is written at the end, whole:
    an interrupted survey leaves nothing behind.

    Args:
        manifest: The manifest.
        out: The HTML file.
        progress: Show a progress bar on standard error.

    Raises:
        UserError: There is no manifest, it has no valid row, or the page cannot be written.
    """
    _require_place(out, manifest)
    table = scan_table(manifest)
    if not table.cases:
        first = f": {table.errors[0]}" if table.errors else ""
        raise UserError(
            f"{manifest} has no valid row, so there is nothing to look at{first}; "
            f"`semilung data check` lists all errors"
        )
    rows = track(
        table.cases,
        "Surveying scans",
        console=Console(stderr=True),
        transient=True,
        disable=not progress,
    )
    surveys = [_survey(*row) for row in rows]
    check = complete_check(table, [survey.checked for survey in surveys])
    context = _context(manifest, check, surveys)
    page = page_environment().get_template("cohort.html.j2").render(**context)
    write_text(out, page)
    return CohortPage(out, context["verdict"], check)


def _require_place(out: Path, manifest: Path) -> None:
    """Raise UserError where the page could not be written, before hours of reading."""
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file for the page, such as {out}/page.html")
    if out.exists() and manifest.exists() and out.samefile(manifest):
        raise UserError(f"{out} is the manifest; name another file for the page by --out")
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(
            f"{out} cannot be written, because {folder} is not a folder in which you may write; "
            f"name another place by --out"
        )


def _survey(row: int, case: Case) -> ScanSurvey:
    """Survey a case; what goes wrong, and the warnings of readers, become issues of it."""
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always", UserWarning)
        checked, volumes = check_case(row, case)
        try:
            survey = survey_scan(checked, volumes)
        except (UserError, MemoryError) as error:
            checked.issues.append(("image", Issue("error", str(error) or "out of memory")))
            survey = ScanSurvey(checked)
    messages = dict.fromkeys(
        str(warning.message) for warning in issued if issubclass(warning.category, UserWarning)
    )
    checked.issues.extend(("", Issue("warning", message)) for message in messages)
    return survey


def _context(manifest: Path, check: ManifestCheck, surveys: Sequence[ScanSurvey]) -> dict[str, Any]:
    """Return the variables of the template."""
    outliers, confounds = list_outliers(surveys), compare_sides(surveys)
    findings = list_findings(check, surveys, outliers, confounds)
    styles = plots.cohort_styles(surveys)
    shown = _montage(surveys)
    unusual = [survey for survey in surveys if survey.case.case in outliers]
    groups = plots.by_cohort(surveys)
    drawings = (
        plots.histograms(surveys, styles),
        plots.dots(
            "slices",
            {name: [s.spacing_mm[2] for s in part if s.shape] for name, part in groups.items()},
            styles,
            label="distance of slices (mm)",
            caption="Dots are scans, bars medians. Training resamples all scans to one voxel size; "
            "thick slices stay blurred.",
        ),
        plots.dots(
            "lung-volumes",
            {
                name: [s.lungs.volume_ml / 1000 for s in part if s.lungs is not None]
                for name, part in groups.items()
            },
            styles,
            label="lung volume (l)",
            caption="Dots are scans, bars medians. Adults hold 3 to 7 l in a scan in inspiration; "
            "less means expiration, cut lungs or a child.",
        ),
        plots.nodule_sizes(surveys),
        plots.nodule_places(surveys, styles),
    )
    all_tables = (
        tables.roles_table(surveys),
        tables.scanners_table(surveys),
        tables.sizes_table(surveys),
        tables.confounds_table(confounds),
        tables.issues_table(check),
    )
    return {
        "title": manifest.stem if manifest.stem != "manifest" else manifest.resolve().parent.name,
        "version": __version__,
        "verdict": verdict(findings),
        "findings": findings,
        "symbols": SYMBOLS,
        "facts": _facts(surveys),
        "tables": {one.name: one for one in all_tables if one is not None},
        "plots": {one.name: one for one in drawings if one is not None},
        "montage": [
            _thumbnail(survey)._replace(unusual=survey.case.case in outliers) for survey in shown
        ],
        "left_out": len(surveys) - len(shown),
        "outliers": [
            _thumbnail(survey, outliers[survey.case.case]) for survey in unusual[:MOST_OUTLIERS]
        ],
        "outliers_left": [survey.case.case for survey in unusual[MOST_OUTLIERS:]],
        "confounds": confounds,
        "probe": None if confounds.probe is None else shown_auc(confounds.probe),
    }


def _facts(surveys: Sequence[ScanSurvey]) -> dict[str, int]:
    return {
        "scans": len(surveys),
        "patients": len({survey.case.patient for survey in surveys}),
        **{
            role: count
            for role in ROLES
            if (count := sum(survey.case.role == role for survey in surveys))
        },
        "nodules": sum(len(survey.nodules) for survey in surveys),
    }


def _montage(surveys: Sequence[ScanSurvey]) -> list[ScanSurvey]:
    """All scans, or as many that are evenly spread over the cohorts' scans in the manifest."""
    if len(surveys) <= MOST_THUMBNAILS:
        return list(surveys)
    ordered = [survey for members in plots.by_cohort(surveys).values() for survey in members]
    step = len(ordered) / MOST_THUMBNAILS
    return [ordered[int(i * step)] for i in range(MOST_THUMBNAILS)]


def _thumbnail(survey: ScanSurvey, outliers: Sequence[Outlier] = ()) -> Thumbnail:
    case = survey.case
    facts = [case.role, *([case.cohort] if case.cohort else [])]
    if survey.shape is not None:
        facts.append(" x ".join(f"{mm:.3g}" for mm in survey.spacing_mm) + " mm")
    if survey.nodules:
        facts.append(f"{len(survey.nodules)} nodule{'s' * (len(survey.nodules) > 1)}")
    source = ""
    if survey.picture:
        source = data_uri("jpeg", survey.picture)
    alt = f"Axial and coronal plane of {case.case}" if source else "The scan cannot be read."
    reasons = [tables.anonymous(outlier.reason) for outlier in outliers]
    return Thumbnail(case.case, source, alt, " · ".join(facts), reasons=reasons)
