"""Types and constants shared by all packages."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

Role: TypeAlias = Literal["labelled", "unlabelled", "healthy", "weak"]
"""Supervision of a case: voxel mask, none, certified absence of nodules, or scan-level label."""

Split: TypeAlias = Literal["train", "val", "test"]

ROLES: tuple[Role, ...] = get_args(Role)
SPLITS: tuple[Split, ...] = get_args(Split)

STREAMS: tuple[str, ...] = (*ROLES, "located")
"""Streams of training batches: one a role, and `located`: labelled cases that have centres and
diameters of their nodules and no mask, where `data.batch.located` draws them apart."""

EVALUATED_ROLES: tuple[Role, ...] = ("labelled", "healthy")
"""Roles with a reference standard for every voxel, on which predictions are evaluated."""

IGNORE = 255
"""Mask value of voxels that losses and metrics ignore."""

StreamBatch: TypeAlias = dict[str, Any]
"""Batch of one stream: `weak` and, if needed, `strong` views `(B, 1, X, Y, Z)` float32; `mask`
`(B, 1, X, Y, Z)` uint8 (labelled: 0, 1, 255; healthy: all 0); `case`, a list of B names."""

Batch: TypeAlias = dict[str, StreamBatch]
"""A step's data: stream name (of `STREAMS`) to its batch."""


class UserError(Exception):
    """An error that the user can fix.

    The command line prints its message without a traceback and exits with code 2. The message says
    what was wrong, what was found, and what to do.
    """
