"""Named segments of one scan, and the label map that they make."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.grid import Shape
from semilung.types import IGNORE, UserError

_SHOWN = 30


@dataclass(frozen=True, eq=False)
class Segment:
    """What a reader outlined under a name; segments of one scan may overlap.

    Attributes:
        name: As the reader gave it.
        voxels: Indices `(N,)` into the flattened voxels of the scan, each once.
    """

    name: str
    voxels: NDArray[np.int64]


def label_map(path: Path, segments: Sequence[Segment], shape: Shape) -> NDArray[np.uint8]:
    """Return the number of each segment, from 1 in their order, in its voxels, and 0 elsewhere.

    A voxel of several segments gets the number of the smallest of them, so that a nodule within a
    larger structure is kept; of equally large ones, that of the first.

    Args:
        path: Their file, for messages.
        segments: At most 254.
        shape: Of the scan.

    Raises:
        UserError: There are more segments than a mask has labels.

    Warns:
        UserWarning: Smaller segments cover all voxels of another one.

    Example:
        >>> lung, nodule = Segment("lung", np.arange(5)), Segment("nodule", np.array([1, 2]))
        >>> label_map(Path("a.seg.nrrd"), [lung, nodule], (6, 1, 1)).ravel().tolist()
        [1, 2, 2, 1, 1, 0]
    """
    if len(segments) >= IGNORE:
        raise UserError(
            f"{path}: it holds {len(segments)} segments, and a mask has {IGNORE - 1} labels; "
            f"choose those that are nodules by their names"
        )
    labels = np.zeros(shape, np.uint8)
    flat = labels.reshape(-1)
    for number in sorted(range(len(segments)), key=lambda k: (-len(segments[k].voxels), -k)):
        flat[segments[number].voxels] = number + 1
    present = set(np.unique(flat).tolist())
    if covered := [
        one.name for k, one in enumerate(segments, 1) if one.voxels.size and k not in present
    ]:
        warnings.warn(
            f"{path}: {listed_names(covered)} lies within smaller segments, which cover it, and is "
            f"left out; choose segments by name if it is the right one",
            stacklevel=2,
        )
    return labels


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a name is one of the patterns, with `*` for anything, whatever the case.

    Example:
        >>> matches("Nodule 2 (RUL)", ["*nodule*"]), matches("Lung", ["nodule*", "gtv"])
        (True, False)
    """
    return any(fnmatchcase(name.lower().strip(), pattern.lower().strip()) for pattern in patterns)


def require_match(path: Path, names: Sequence[str], patterns: Sequence[str]) -> None:
    """Check that a pattern matches a name.

    Raises:
        UserError: None does; the names are listed.
    """
    if not any(matches(name, patterns) for name in names):
        raise UserError(
            f"{path}: none of its segments ({listed_names(names)}) is named "
            f"{' or '.join(map(repr, patterns))}; name those that are nodules, as in "
            f"segments='[*nodule*]'"
        )


def listed_names(names: Sequence[str]) -> str:
    """Return the first names for a message, without what cannot be printed."""
    short = ["".join(filter(str.isprintable, name))[:_SHOWN] or "unnamed" for name in names[:8]]
    return ", ".join(short) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def as_patterns(segments: str | Sequence[str]) -> tuple[str, ...]:
    """Return an option that is one pattern or several as patterns.

    Raises:
        ValueError: It is something else, or empty.
    """
    patterns = (segments,) if isinstance(segments, str) else tuple(segments)
    if not patterns or not all(isinstance(one, str) and one for one in patterns):
        raise ValueError(f"segments are names such as '[nodule*, GTV]', got {segments!r}")
    return patterns
