"""Checks of the training labels: nodules are present, bag labels agree with masks."""

from __future__ import annotations

from collections.abc import Sequence

from semilung.data.cache.prepared_case import PreparedCase
from semilung.types import IGNORE, UserError


def nodule_doubt(cases: Sequence[PreparedCase]) -> str | None:
    """Return a warning if labelled training cases have no mask or no nodule; None otherwise."""
    without = [item.name for item in cases if "mask" not in item.files]
    if without:
        return (
            f"{len(without)} of {len(cases)} labelled training cases have nodules but no mask, so "
            f"that segmentation learns nothing from their voxels: {', '.join(without[:5])}"
        )
    if not cases or any(len(item.foreground) for item in cases):
        return None
    hint = "is each the mask of its scan?"
    if any(map(_ignores, cases)):
        hint = "255 is ignored, did you mean 1?"
    return (
        f"None of the {len(cases)} labelled training cases holds a voxel of a nodule (1 to 254), "
        f"so that the network learns to predict none; {hint}"
    )


def require_masks(cases: Sequence[PreparedCase]) -> None:
    """Check that segmentation has something to learn from the labelled training cases.

    Raises:
        UserError: All of them are labelled by their nodules alone.
    """
    if cases and not any("mask" in item.files for item in cases):
        raise UserError(
            f"none of the {len(cases)} labelled training cases has a mask, and a strategy of this "
            f"run learns from masks: add masks, or give the cases the role weak or unlabelled"
        )


def require_bag_labels(cases: Sequence[PreparedCase]) -> None:
    """Check the scan-level labels of labelled cases.

    Raises:
        UserError: A label is unknown, or contradicts the mask; the message names the case.
    """
    for item in cases:
        contradiction = _contradiction(item)
        if contradiction is not None:
            raise UserError(f"case {item.name!r}: {contradiction}; correct bag_label or mask")


def _contradiction(item: PreparedCase) -> str | None:
    label = item.case.bag_label
    has_nodule = any(not nodule.ignored for nodule in item.nodules)
    is_unknown = not has_nodule and ("mask" not in item.files or _ignores(item))
    if label is None and is_unknown:
        return "it has only ignored findings, so whether it holds a nodule is unknown"
    if label == 0 and has_nodule:
        return "its bag_label is 0, but it has a nodule"
    if label == 1 and not has_nodule and not is_unknown:
        return "its bag_label is 1, but its mask is empty"
    return None


def _ignores(item: PreparedCase) -> bool:
    return "mask" in item.files and bool((item.read("mask") == IGNORE).any())
