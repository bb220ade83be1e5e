"""3D Slicer's `.seg.nrrd`: segments by name, in one label map or in layers where they overlap."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semilung.data.io.segments import Segment, label_map, matches, require_match
from semilung.types import UserError

_KEY = re.compile(r"segment(\d{1,4})_(?:id|name|layer|labelvalue)=")
_NUMBER = re.compile(r"\d{1,5}", re.ASCII)


@dataclass(frozen=True)
class StoredSegment:
    """Where a file has a segment: the voxels of one value in one of its layers."""

    name: str
    layer: int
    value: int


def stored_segments(path: Path, fields: Mapping[str, str], layers: int) -> list[StoredSegment]:
    """Return the segments that a header lists; none for an NRRD that is no segmentation.

    Older files have neither layers nor values: there, each layer is a segment. The `Extent` of a
    segment is not read, for the voxels say it too.

    Args:
        path: The file, for messages.
        fields: Fields of the header, `key:=value` under `key=` in lower case.
        layers: Size of the axis that has no direction in space.

    Raises:
        UserError: A layer does not exist, a value is none of a segment, or two segments are one.
    """
    numbers = sorted({int(key[1]) for key in map(_KEY.fullmatch, fields) if key})
    segments = [_segment(path, fields, number, layers) for number in numbers]
    if len({(one.layer, one.value) for one in segments}) < len(segments):
        raise UserError(
            f"{path}: two of its segments have one layer and label value; save it again in 3D "
            f"Slicer"
        )
    return segments


def _segment(path: Path, fields: Mapping[str, str], number: int, layers: int) -> StoredSegment:
    layer = fields.get(f"segment{number}_layer=", str(number if layers > 1 else 0))
    value = fields.get(f"segment{number}_labelvalue=", "1")
    if not (_NUMBER.fullmatch(layer) and _NUMBER.fullmatch(value)):
        raise UserError(
            f"{path}: the layer or label value of segment {number} is no number; save it again in "
            f"3D Slicer"
        )
    if int(layer) >= layers or int(value) == 0:
        raise UserError(
            f"{path}: segment {number} is in layer {layer} under the label value {value}, where "
            f"{layers} layers from 0 on and values from 1 on are possible; save it again in 3D "
            f"Slicer"
        )
    name = fields.get(f"segment{number}_name=") or fields.get(f"segment{number}_id=", "")
    return StoredSegment(name or f"segment {number}", int(layer), int(value))


def labelled_segments(
    path: Path,
    stored: Sequence[StoredSegment],
    patterns: Sequence[str],
    layers: NDArray[Any],
) -> NDArray[np.uint8]:
    """Return the label map `(X, Y, Z)` of the segments whose names match, see `label_map`.

    Args:
        path: The file, for messages.
        stored: Segments of the file.
        patterns: Names of those that are wanted.
        layers: All voxels, `(L, X, Y, Z)`.

    Raises:
        UserError: No name matches, or voxels have a value that is no segment's.
    """
    require_match(path, [one.name for one in stored], patterns)
    flat = layers.reshape(len(layers), -1)
    for number, layer in enumerate(flat):
        values = [0, *(one.value for one in stored if one.layer == number)]
        if not np.isin(layer, values).all():
            raise UserError(
                f"{path}: it has voxels that are of none of the segments in its header; save it "
                f"again in 3D Slicer"
            )
    segments = [
        Segment(one.name, np.flatnonzero(flat[one.layer] == one.value))
        for one in stored
        if matches(one.name, patterns)
    ]
    x, y, z = layers.shape[1:]
    return label_map(path, segments, (x, y, z))
