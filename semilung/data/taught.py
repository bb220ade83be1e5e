"""Whether the labels that a training reads say something, and do not contradict each other."""

from __future__ import annotations

from collections.abc import Sequence

from semilung.data.prepare import PreparedCase
from semilung.types import IGNORE, UserError


def require_nodules(cases: Sequence[PreparedCase]) -> None:
    """Refuse labelled training cases without one nodule.

    Raises:
        UserError: None of their masks marks any; a training on them would learn silence.
    """
    if cases and not any(len(item.foreground) for item in cases):
        msg = f"none of the {len(cases)} labelled training cases holds a voxel of a nodule"
        hint = "did you mean 1?" if any(map(_ignores, cases)) else "is each the mask of its scan?"
        raise UserError(f"{msg} (1 to 254; 255 is ignored): {hint} See `semilung data check`")


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
        raise UserError(f"case {item.case.case!r}: {msg}; correct bag_label or mask")


def _ignores(item: PreparedCase) -> bool:
    return bool((item.read("mask") == IGNORE).any())
