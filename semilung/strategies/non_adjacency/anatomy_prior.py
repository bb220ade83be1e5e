"""Prior of the non-adjacency constraint: class pairs that never touch in training scans."""

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
    """Contacts of each case with anatomy, among healthy and labelled ones; others are not read.

    Args:
        streams: Training cases.
        classes: Number of anatomy labels, 0 included.
        unlabelled: Labels that name no tissue.
        limit: Cases of each stream that are read at most, evenly taken.

    Returns:
        `(classes + 1, classes + 1)` of each, see `contacts`.

    Raises:
        UserError: No such case, or a label beyond the classes.
    """
    found = []
    for stream in ("healthy", "labelled"):
        cases = [case for case in streams.get(stream, ()) if "anatomy" in case.files]
        for case in cases[:: max(1, math.ceil(len(cases) / limit))]:
            anatomy = case.read("anatomy")
            beyond = np.unique(anatomy[(anatomy >= classes) & (anatomy != IGNORE)]).tolist()
            if beyond:
                msg = (
                    f"the anatomy of case {case.name} holds the labels {beyond}, and "
                    f"strategy 'non_adjacency' has classes={classes}, 0 to {classes - 1}: "
                    "raise strategies.non_adjacency.classes"
                )
                raise UserError(msg)
            mask = case.read("mask") if stream == "labelled" and "mask" in case.files else None
            found.append(contacts(anatomy, mask, classes, unlabelled=unlabelled))
    if not found:
        msg = (
            "strategy 'non_adjacency' learns which tissues touch from the anatomy of healthy and "
            "labelled training cases, and none of them has any. Name it in the manifest's column "
            "`anatomy`, or make a coarse one with `semilung data anatomy MANIFEST`"
        )
        raise UserError(msg)
    return found


def contacts(
    anatomy: NDArray[Any],
    mask: NDArray[Any] | None,
    classes: int,
    *,
    unlabelled: Sequence[int] = (),
) -> Tensor:
    """How often each two classes of a case touch; the nodule is the class after the anatomy's.

    A nodule touches the tissues around it and, as the composed prediction holds both in one voxel,
    what the anatomy names under it: coarse anatomy may call the nodule itself a vessel.

    Args:
        anatomy: `(X, Y, Z)` labels.
        mask: `(X, Y, Z)` nodules, 255 where it is unknown; None where it is not labelled.
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
    """Pairs that never touch where they could have.

    A case holds a class that has any contact in it, its own kind's included. A pair is forbidden if
    at least `min_cases` cases hold both classes, and if in each of them its share of the contacts
    of the rarer one (the one with fewer contacts with other classes) is at most `tolerance`. No
    class is forbidden to touch itself.

    Args:
        cases: `(C, C)` contacts of each case.
        min_cases: Cases that must hold both classes, at least 1.
        tolerance: 0 forbids unseen pairs only.

    Returns:
        `(C, C)` bool, symmetric.
    """
    seen = torch.stack(list(cases)).double()
    held = seen.sum(dim=2) > 0
    both = held[:, :, None] & held[:, None, :]
    own = torch.eye(seen.shape[1], dtype=torch.bool)
    outer = seen.masked_fill(own, 0).sum(dim=2)
    rarer = torch.minimum(outer[:, :, None], outer[:, None, :]).clamp(min=1)
    touching = both & (seen / rarer > tolerance)
    return (both.sum(dim=0) >= min_cases) & ~touching.any(dim=0) & ~own


def allowed_pairs(names: Sequence[str], classes: int) -> list[tuple[int, int]]:
    """Class numbers of pairs such as `nodule-vessel`, or `7-3`.

    Raises:
        ValueError: A pair that is none, or a class that there is not.
    """
    numbers = {name: k for name, k in ANATOMY.items() if k < classes} | {NODULE: classes}
    numbers |= {str(k): k for k in range(classes + 1)}
    pairs = []
    for name in names:
        parts = [part.strip() for part in str(name).split("-")]
        if len(parts) != 2 or not all(part in numbers for part in parts):
            msg = (
                f"allow takes pairs such as 'nodule-vessel', of {', '.join(numbers)}: got {name!r}"
            )
            raise ValueError(msg)
        pairs.append((numbers[parts[0]], numbers[parts[1]]))
    return pairs
