"""Self-contained HTML report of a run or a sweep, with its tables as CSV and Markdown."""

from semilung.report.page import write_html
from semilung.report.read_runs import read_study

__all__ = ["read_study", "write_html"]
