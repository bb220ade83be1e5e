"""Tags of the frames of an enhanced multi-frame file, as a slice of its own would have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

FRAME_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""Where an enhanced file has what all frames share, and what each has for itself."""

_MACROS = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "CTReconstructionSequence": ("ConvolutionKernel",),
}
"""Sequence of a functional group to the tags that are read; none identifies the patient."""


def frame_tags(shared: Any, per_frame: Any) -> tuple[dict[str, Any], ...]:
    """Return tag to value of each frame; none for a file without functional groups.

    Args:
        shared: Shared functional groups, a sequence of one item; None where there are none.
        per_frame: Functional groups of each frame; None where there are none.
    """
    common = {tag: value for group in shared or () for tag, value in _values(group)}
    return tuple({**common, **dict(_values(group))} for group in per_frame or ())


def _values(group: Any) -> Iterator[tuple[str, Any]]:
    for macro, tags in _MACROS.items():
        for item in group.get(macro) or ():
            yield from ((tag, item[tag].value) for tag in tags if tag in item)
