"""Cases of a stream packed into one block of bytes, which loader processes share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from semilung.data.cache.prepared_case import PreparedCase
from semilung.data.manifest.cases import Case
from semilung.data.manifest.fields import FIELDS
from semilung.data.manifest.nodules import Nodule


class PackedCases:
    """A fixed sequence of cases, each rebuilt on access.

    Python stores reference counts in its objects, so a forked worker that reads a list of a hundred
    thousand cases copies all of it, page by page. Two blocks of bytes stay shared.

    Args:
        cases: The cases to pack.

    Example:
        >>> case = Case("a", "p", Path("a.nii"), "healthy")
        >>> PackedCases([PreparedCase(case, {"image": Path("a.b2nd")})])[0].case == case
        True
    """

    def __init__(self, cases: Iterable[PreparedCase]) -> None:
        rows = [json.dumps([asdict(c.case), c.files], default=str).encode() for c in cases]
        self._rows = b"".join(rows)
        self._ends = np.cumsum([0, *map(len, rows)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, position: int) -> PreparedCase:
        case, files = json.loads(self._rows[self._ends[position] : self._ends[position + 1]])
        for name in ("image", *FIELDS):
            case[name] = case[name] and Path(case[name])
        case["nodules"] = tuple(
            Nodule(**{**nodule, "centre_mm": tuple(nodule["centre_mm"])})
            for nodule in case["nodules"]
        )
        return PreparedCase(Case(**case), {name: Path(file) for name, file in files.items()})
