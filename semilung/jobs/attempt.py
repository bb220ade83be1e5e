"""One attempt at a job, whose failure is returned and stops no other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from semilung.files import DiskFullError
from semilung.types import UserError

T = TypeVar("T")
Jobs: TypeAlias = Sequence[tuple[str, T]]
"""Name and item of each job."""

Done: TypeAlias = tuple[str, list[Warning | str]]
"""Reason of a job's failure (empty on success), and the warnings that it issued."""

DIED: Done = ("its worker process died, perhaps of too little memory", [])
"""Outcome of a job that ends every worker that begins it."""


def attempt(work: Callable[[T], None], item: T) -> Done:
    """Call `work` on an item.

    Raises:
        DiskFullError: No space is left, as for the jobs after it.
    """
    reason = ""
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always", UserWarning)  # the parent applies its own filters
        try:
            work(item)
        except DiskFullError:
            raise
        except (UserError, OSError, MemoryError) as error:
            reason = str(error) or "out of memory"
    return reason, [each.message for each in issued]
