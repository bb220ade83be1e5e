"""Parameters of a phantom cohort, and role and split of each of its scans."""

from __future__ import annotations

import math
from dataclasses import dataclass

from semilung.types import Role, Split, UserError

DRAWING = 3
"""Version of the drawing code; another version yields another phantom."""

MIN_SCANS, MIN_SIZE, FOV_RANGE_MM = 8, 32, (90.0, 500.0)


@dataclass(frozen=True)
class Parameters:
    """Parameters of a phantom cohort, saved with it as `phantom.json`."""

    scans: int
    size: int
    spacing_mm: float
    seed: int
    drawing: int = DRAWING

    def check(self) -> None:
        """Raise UserError for parameters of which no phantom can be drawn."""
        if self.scans < MIN_SCANS:
            raise UserError(
                f"a phantom of {self.scans} scans is too small, because every role and split needs "
                f"one; choose {MIN_SCANS} or more"
            )
        if self.seed < 0:
            raise UserError(f"the phantom's seed is {self.seed}; choose 0 or more")
        if not (math.isfinite(self.spacing_mm) and self.spacing_mm > 0):
            raise UserError(f"the phantom's spacing is {self.spacing_mm} mm; choose more than 0 mm")
        if self.size < MIN_SIZE:
            raise UserError(
                f"the phantom's size is {self.size} voxels, too few for a chest; choose {MIN_SIZE} "
                f"or more"
            )
        low, high = FOV_RANGE_MM
        if not low <= self.size * self.spacing_mm <= high:
            raise UserError(
                f"the phantom's field of view is size x spacing = {self.size} x {self.spacing_mm} "
                f"= {self.size * self.spacing_mm:g} mm; choose them for {low:g} to {high:g} mm"
            )


@dataclass(frozen=True)
class Part:
    """Role and split of one scan."""

    role: Role
    split: Split

    @property
    def diseased(self) -> bool:
        """Whether the scan has nodules: all but the healthy ones."""
        return self.role != "healthy"

    @property
    def cohort(self) -> str:
        """Patients come from a hospital, healthy subjects from a screening programme."""
        return "hospital" if self.diseased else "screening"


def compose(scans: int) -> list[Part]:
    """Compose a cohort: a sixth unlabelled, a twelfth weak, a third healthy, the rest labelled.

    Of labelled and healthy scans a sixth is validation and a quarter test, at least one each.

    Example:
        >>> [p.split for p in compose(12) if p.role == "labelled"]
        ['train', 'train', 'train', 'val', 'test']
    """
    unlabelled, weak, healthy = max(1, scans // 6), max(1, scans // 12), max(3, scans // 3)
    labelled = scans - unlabelled - weak - healthy
    return [
        *_split("labelled", labelled),
        *[Part("unlabelled", "train")] * unlabelled,
        *[Part("weak", "train")] * weak,
        *_split("healthy", healthy),
    ]


def _split(role: Role, count: int) -> list[Part]:
    val, test = max(1, count // 6), max(1, count // 4)
    splits: tuple[tuple[Split, int], ...] = (
        ("train", count - val - test),
        ("val", val),
        ("test", test),
    )
    return [Part(role, split) for split, n in splits for _ in range(n)]
