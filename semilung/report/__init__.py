"""One self-contained page on a run or a sweep, and the tables behind it."""

from semilung.report.compared_metrics import FIGURES
from semilung.report.page import write_html
from semilung.report.read_runs import read_study

__all__ = ["FIGURES", "read_study", "write_html"]
