"""Table of the label maps that a case may have: a new one is a row here and an attribute of `Case`.

Manifest, cache and loader read it: which rows' files are opened, how labels are brought to the
prepared grid, and which value stands for what is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from semilung.types import IGNORE, ROLES, Role


@dataclass(frozen=True)
class Field:
    """A kind of label map.

    Attributes:
        name: Column of the manifest, attribute of `Case`, and key of a batch.
        roles: Roles whose files are read; a path in another role's row is never opened.
        resampling: `instances` keeps every small object, `classes` takes the majority.
        streams: Streams whose batches always hold it, known or not.
        background: Roles for which it is known to be 0 everywhere without a file.
        unknown: Value where a case has none.
    """

    name: str
    roles: tuple[Role, ...]
    resampling: Literal["instances", "classes"]
    streams: tuple[str, ...] = ()
    background: tuple[Role, ...] = ()
    unknown: int = IGNORE

    def fill(self, role: Role) -> int:
        """Value of the voxels of a case that has no file."""
        return 0 if role in self.background else self.unknown


FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Field(
            "mask",
            roles=("labelled",),
            resampling="instances",
            streams=("labelled", "healthy"),
            background=("healthy",),
        ),
        Field("anatomy", roles=ROLES, resampling="classes"),
    )
}
