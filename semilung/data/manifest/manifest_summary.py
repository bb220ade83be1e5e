"""Summary of a manifest in a few lines: cases, patients, voxel sizes and nodules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from semilung.data.manifest.cases import Case
from semilung.data.manifest.check_manifest import CheckedCase
from semilung.types import ROLES, SPLITS

SIZES_MM = (6, 10, 20)
"""Limits of the size classes of nodules, as in evaluation."""


def manifest_summary(cases: Sequence[CheckedCase]) -> list[tuple[str, str]]:
    """Return the lines of the summary: name and value.

    Args:
        cases: As `examine_manifest` returns them.
    """
    lines = [("cases", _of_patients([item.case for item in cases]))]
    lines += _roles(cases)
    cohorts = Counter(item.case.cohort for item in cases if item.case.cohort)
    if cohorts:
        lines.append(("cohorts", ", ".join(f"{n} {name}" for name, n in cohorts.items())))
    lines += _voxels(cases)
    lines += _nodules(cases)
    budget = sum(item.case.role == "labelled" and item.case.split == "train" for item in cases)
    lines.append(("label budget", f"data.labelled=1 to {budget}" if budget else "no labelled case"))
    return lines


def _roles(cases: Sequence[CheckedCase]) -> Iterator[tuple[str, str]]:
    for role in ROLES:
        members = [item.case for item in cases if item.case.role == role]
        if members:
            splits = Counter(case.split for case in members)
            counts = ", ".join(f"{splits[split]} {split}" for split in SPLITS)
            yield role, f"{_of_patients(members)}: {counts}"


def _of_patients(cases: Sequence[Case]) -> str:
    patients = len({case.patient for case in cases})
    return f"{len(cases)} of {patients} patient{'' if patients == 1 else 's'}"


def _voxels(cases: Sequence[CheckedCase]) -> Iterator[tuple[str, str]]:
    spacings = [item.spacing_mm for item in cases if item.spacing_mm]
    if spacings:
        low, middle, high = np.quantile(np.array(spacings), (0, 0.5, 1), axis=0)
        for name, mm in (("smallest", low), ("median", middle), ("largest", high)):
            yield f"voxel, {name}", f"{' x '.join(f'{edge:.3g}' for edge in mm)} mm"


def _nodules(cases: Sequence[CheckedCase]) -> Iterator[tuple[str, str]]:
    masks = [item.mask for item in cases if item.case.role == "labelled" and item.mask]
    diameters_mm = np.array([mm for mask in masks for mm in mask.diameters_mm])
    if not len(diameters_mm):
        return
    bins = np.bincount(np.digitize(diameters_mm, SIZES_MM), minlength=len(SIZES_MM) + 1)
    low, middle, high = np.quantile(diameters_mm, (0, 0.5, 1))
    holding = sum(bool(mask.diameters_mm) for mask in masks)
    yield "nodules", f"{len(diameters_mm)} in {holding} of {len(masks)} masks"
    yield (
        "diameter",
        f"{low:.1f} to {high:.1f} mm, median {middle:.1f} mm (of a ball of equal volume)",
    )
    names = [f"{bins[0]} below {SIZES_MM[0]} mm"]
    names += [f"{n} from {mm} mm" for n, mm in zip(bins[1:], SIZES_MM, strict=True)]
    yield "sizes", ", ".join(names)
