"""Prior of the non-adjacency constraint: pairs of classes that never touch in training scans."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semilung.data import PreparedCase
from semilung.data.anatomy import ANATOMY
from semilung.losses import count_adjacency
from semilung.types import IGNORE, UserError

NODULE = "nodule"


def read_contacts(
    streams: Mapping[str, Sequence[PreparedCase]],
    classes: int,
    *,
    unlabelled: Sequence[int],
    limit: int,
) -> list[Tensor]:
    """Count the class contacts of each healthy and labelled case with anatomy.

    Args:
        streams: Training cases.
        classes: Number of anatomy labels, 0 included.
        unlabelled: Labels that name no tissue.
        limit: Maximum number of cases of each stream, evenly spaced.

    Returns:
        `(classes + 1, classes + 1)` for each case, see `contacts`.

    Raises:
        UserError: No case with anatomy, or a label outside the classes.
    """
    counts = []
    for stream in ("healthy", "labelled"):
        cases = [case for case in streams.get(stream, ()) if "anatomy" in case.files]
        for case in cases[:: max(1, math.ceil(len(cases) / limit))]:
            anatomy = case.read("anatomy")
            outside = np.unique(anatomy[(anatomy >= classes) & (anatomy != IGNORE)]).tolist()
            if outside:
                msg = (
                    f"the anatomy of case {case.name} has the labels {outside}, and "
                    f"strategy 'non_adjacency' has classes={classes}, 0 to {classes - 1}: "
                    "raise strategies.non_adjacency.classes"
                )
                raise UserError(msg)
            mask = case.read("mask") if stream == "labelled" and "mask" in case.files else None
            counts.append(contacts(anatomy, mask, classes, unlabelled=unlabelled))
    if not counts:
        msg = (
            "strategy 'non_adjacency' learns which tissues touch from the anatomy of healthy and "
            "labelled training cases, and none of them has any. Name it in the manifest's column "
            "`anatomy`, or make a coarse one with `semilung data anatomy MANIFEST`"
        )
        raise UserError(msg)
    return counts


def contacts(
    anatomy: NDArray[Any],
    mask: NDArray[Any] | None,
    classes: int,
    *,
    unlabelled: Sequence[int] = (),
) -> Tensor:
    """Count how often each pair of classes of a case touches; the nodule is the last class.

    A nodule touches the tissues around it and, since the composed prediction has both in one voxel,
    the anatomy label of its voxels: coarse anatomy may label the nodule itself as vessel.

    Args:
        anatomy: `(X, Y, Z)` labels.
        mask: `(X, Y, Z)` nodules, 255 where unknown; None for a case without mask.
        classes: Number of anatomy labels, 0 included.
        unlabelled: Labels that name no tissue, as 255 does.

    Returns:
        `(classes + 1, classes + 1)` long, symmetric.
    """
    labels = np.where(np.isin(anatomy, [*unlabelled, IGNORE]), -1, anatomy.astype(np.int64))
    under = np.empty(0, np.int64)
    if mask is not None:
        nodule = (mask > 0) & (mask != IGNORE)
        under = labels[nodule & (labels >= 0)]
        labels = np.where(nodule, classes, np.where(mask == IGNORE, -1, labels))
    counts = count_adjacency(torch.from_numpy(labels), classes + 1)
    hidden = torch.from_numpy(np.bincount(under, minlength=classes)).long()
    counts[classes, :classes] += hidden
    counts[:classes, classes] += hidden
    return counts


def forbid(cases: Sequence[Tensor], *, min_cases: int, tolerance: float) -> Tensor:
    """Return the pairs of classes that never touch although both are present.

    A class is present in a case if it has any contact there, including with itself. A pair is
    forbidden if both classes are present in at least `min_cases` cases, and if in each of them its
    share of the contacts of the rarer class (the one with fewer contacts with other classes) is at
    most `tolerance`. A class may always touch itself.

    Args:
        cases: `(C, C)` contacts of each case.
        min_cases: Minimum number of cases with both classes, at least 1.
        tolerance: In [0, 1); 0 forbids only pairs without any contact.

    Returns:
        `(C, C)` bool, symmetric.
    """
    counts = torch.stack(list(cases)).double()
    present = counts.sum(dim=2) > 0
    both = present[:, :, None] & present[:, None, :]
    diagonal = torch.eye(counts.shape[1], dtype=torch.bool)
    outer = counts.masked_fill(diagonal, 0).sum(dim=2)
    rarer = torch.minimum(outer[:, :, None], outer[:, None, :]).clamp(min=1)
    touching = both & (counts / rarer > tolerance)
    return (both.sum(dim=0) >= min_cases) & ~touching.any(dim=0) & ~diagonal


def allowed_pairs(names: Sequence[str], classes: int) -> list[tuple[int, int]]:
    """Return the class numbers of pairs such as `nodule-vessel`, or `7-3`.

    Raises:
        ValueError: An invalid pair, or an unknown class.
    """
    numbers = {name: k for name, k in ANATOMY.items() if k < classes} | {NODULE: classes}
    numbers |= {str(k): k for k in range(classes + 1)}
    pairs = []
    for name in names:
        parts = [part.strip() for part in str(name).split("-")]
        if len(parts) != 2 or not all(part in numbers for part in parts):
            msg = f"allow takes pairs such as 'nodule-vessel' of {', '.join(numbers)}: got {name!r}"
            raise ValueError(msg)
        pairs.append((numbers[parts[0]], numbers[parts[1]]))
    return pairs
