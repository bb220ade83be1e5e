"""A page to look at a cohort: what its scans and nodules are like, and what is unusual."""

from semilung.report.cohort.cohort_page import CohortPage, write_cohort_page

__all__ = ["CohortPage", "write_cohort_page"]
