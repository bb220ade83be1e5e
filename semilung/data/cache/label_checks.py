"""Whether the labels that a training reads say something, and do not contradict each other."""

from __future__ import annotations

from collections.abc import Sequence

from semilung.data.cache.prepare import PreparedCase
from semilung.types import IGNORE, UserError


def nodule_doubt(cases: Sequence[PreparedCase]) -> str | None:
    """What is to be said of labelled training cases without one nodule; None where there is one."""
    if not cases or any(len(item.foreground) for item in cases):
        return None
    hint = "is each the mask of its scan?"
    if any(map(_ignores, cases)):
        hint = "255 is ignored, did you mean 1?"
    return (
        f"None of the {len(cases)} labelled training cases holds a voxel of a nodule (1 to 254), "
        f"so that the net learns silence; {hint}"
    )


def require_bag_labels(cases: Sequence[PreparedCase]) -> None:
    """Refuse labelled cases whose scan-level label is unknown, or contradicts their mask.

    Raises:
        UserError: Such a case; the message names it.
    """
    for item in cases:
        label, marked = item.case.bag_label, len(item.foreground) > 0
        unknown = not marked and _ignores(item)
        if label is None and unknown:
            msg = "all that its mask marks is 255 (ignore), so whether it holds a nodule is unknown"
        elif label == 0 and marked:
            msg = "its bag_label is 0, but its mask marks a nodule"
        elif label == 1 and not marked and not unknown:
            msg = "its bag_label is 1, but its mask is empty"
        else:
            continue
        raise UserError(f"case {item.name!r}: {msg}; correct bag_label or mask")


def _ignores(item: PreparedCase) -> bool:
    return "mask" in item.files and bool((item.read("mask") == IGNORE).any())
