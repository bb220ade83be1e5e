"""Comparison of radiomic features with the consensus values of IBSI."""

import csv
from typing import NamedTuple

ENDINGS = {
    "2d_average": ("2D_avg", "2D"),
    "2d_slice_merge": ("2D_comb", "2D"),
    "2.5d_direction_merge": ("2_5D_avg", "2_5D"),
    "2.5d_volume_merge": ("2_5D_comb", "2_5D"),
    "3d_average": ("3D_avg", "3D"),
    "3d_volume_merge": ("3D_comb", "3D"),
}
"""Endings of IBSI's names, for matrices with and without a direction."""


class Comparison(NamedTuple):
    """Names of the features that have a consensus value, and of those that differ from it."""

    compared: set[str]
    differing: set[str]


def compare_with_consensus(values, path, aggregation):
    """Compare features with a table of IBSI: within tolerance, after rounding to its digits."""
    with path.open() as file:
        rows = {row["tag"]: row for row in csv.DictReader(file, delimiter=";")}
    compared, differing = set(), set()
    for name, value in values.items():
        row = rows.get(_tag(name, aggregation), {"reference value": ""})
        if row["reference value"]:
            compared.add(name)
            reference, tolerance = float(row["reference value"]), float(row["tolerance"])
            if not abs(float(f"{value:.2e}") - reference) <= tolerance + 1e-9 * abs(reference):
                differing.add(name)
    return Comparison(compared, differing)


def _tag(name, aggregation):
    family = name.partition("_")[0]
    if family in ("morph", "stat", "ih"):
        return name
    directed, other = ENDINGS[aggregation]
    return f"{name}_{directed if family in ('cm', 'rlm') else other}"
