"""The conformance kit: what every strategy must do, checked on a tiny problem.

`check_strategy` runs over semilung's own strategies and over anyone else's. Each check is a
function of a factory, so that a suite can name it: `pytest.mark.parametrize("check", CHECKS)`.
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
