"""The few types that every room of the house shares."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

Role: TypeAlias = Literal["labelled", "unlabelled", "healthy", "weak"]
"""What a case teaches: voxel masks, nothing, certified absence of nodules, or a scan label."""

Split: TypeAlias = Literal["train", "val", "test"]

ROLES: tuple[Role, ...] = get_args(Role)
SPLITS: tuple[Split, ...] = get_args(Split)

EVALUATED_ROLES: tuple[Role, ...] = ("labelled", "healthy")
"""Roles whose voxels are all known, so that a prediction can be evaluated on them."""

IGNORE = 255
"""The mask value that no loss and no metric reads."""

StreamBatch: TypeAlias = dict[str, Any]
"""One stream's share of a step: `weak` and, where asked, `strong` views `(B, 1, X, Y, Z)` float32;
`mask` `(B, 1, X, Y, Z)` uint8 (labelled: 0, 1, 255; healthy: all 0); `case` list of B names."""

Batch: TypeAlias = dict[str, StreamBatch]
"""A step's data: stream name (`labelled`, `unlabelled`, `healthy`, `weak`) to its batch."""


class UserError(Exception):
    """Something the user can mend.

    The command line prints it as one clear message and exits with code 2. The text says what was
    wrong, what was found, and what to do.
    """
