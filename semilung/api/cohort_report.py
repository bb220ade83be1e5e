"""`semilung data report`: a page to look at a cohort."""

from __future__ import annotations

from pathlib import Path

from semilung.api.paths import PathLike
from semilung.report.cohort import CohortPage, write_cohort_page


def cohort_report(
    manifest: PathLike, *, out: PathLike | None = None, progress: bool = False
) -> CohortPage:
    """Write a self-contained HTML page of a cohort: scans, nodules, outliers, confounds.

    Args:
        manifest: The manifest.
        out: The page; by default `<name>_report.html` next to the manifest.
        progress: Show a progress bar on standard error.

    Returns:
        The page, its first sentence, and the check of the manifest.

    Raises:
        UserError: There is no manifest, it has no valid row, or the page cannot be written.

    Example:
        cohort_report("cohort/manifest.csv").verdict
    """
    manifest = Path(manifest)
    page = manifest.with_name(f"{manifest.stem}_report.html") if out is None else Path(out)
    return write_cohort_page(manifest, page, progress=progress)
