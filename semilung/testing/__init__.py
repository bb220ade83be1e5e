"""Conformance kit: checks of every strategy on a small problem.

`check_strategy` runs all checks, for strategies of semilung and of other packages. Each check is a
function of a factory, so that a test suite can name it: `pytest.mark.parametrize("check", CHECKS)`.
"""

from semilung.testing.checks import CHECKS, check_strategy, check_teacher
from semilung.testing.problem import TinyCase, tiny_batch, tiny_learner, tiny_student

__all__ = [
    "CHECKS",
    "TinyCase",
    "check_strategy",
    "check_teacher",
    "tiny_batch",
    "tiny_learner",
    "tiny_student",
]
