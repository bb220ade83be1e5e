"""LUNA16: MetaImage scans in ten subsets, with centres and diameters of their nodules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from semilung.data.importers.importer import importers
from semilung.data.manifest.cases import Case
from semilung.data.manifest.nodules import Nodule
from semilung.data.manifest.table_file import TableKind, read_table
from semilung.types import Split, UserError

COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")

FINDINGS = TableKind("a table of LUNA16's findings", COLUMNS, "a finding")


@importers.register("luna16")
class Luna16:
    """LUNA16: `subset0/*.mhd` to `subset9/*.mhd`, `annotations.csv`, `annotations_excluded.csv`.

    Scans with annotations are labelled by centres and diameters; the others are weak with label 0.
    They are not healthy: findings of a minority of readers, which `annotations_excluded.csv` lists
    and which become ignored findings, occur in them too.

    Args:
        val: Numbers of the subsets for validation, such as `[8]`.
        test: Numbers of the subsets for test. Without both, splits are drawn in training.

    Raises:
        ValueError: A number that is not of a subset, or in both.

    Source: Setio et al., Validation, comparison, and combination of algorithms for automatic
    detection of pulmonary nodules in CT: the LUNA16 challenge, Medical Image Analysis 2017.
    """

    def __init__(self, *, val: Sequence[int] = (), test: Sequence[int] = ()) -> None:
        if not set(val) | set(test) <= set(range(10)) or set(val) & set(test):
            raise ValueError(
                f"val={list(val)} and test={list(test)}: subsets are 0 to 9, each once"
            )
        self._split: dict[int, Split] = dict.fromkeys(val, "val")
        self._split |= dict.fromkeys(test, "test")

    def cases(self, source: Path, out: Path) -> Sequence[Case]:
        """Return a case for each scan; errors as `Importer.cases`."""
        scans = sorted(source.glob("subset[0-9]/*.mhd"))
        if not scans:
            raise UserError(f"{source} has no scans subset0/*.mhd to subset9/*.mhd, as LUNA16 has")
        included = _centres(source / "annotations.csv")
        excluded = _centres(source / "annotations_excluded.csv", ignored=True)
        return [
            self._case(scan, included.get(scan.stem, []), excluded.get(scan.stem, []))
            for scan in scans
        ]

    def _case(self, scan: Path, included: list[Nodule], excluded: list[Nodule]) -> Case:
        subset = int(scan.parent.name.removeprefix("subset"))
        split = self._split.get(subset, "train" if self._split else None)
        return Case(
            case=scan.stem,
            patient=scan.stem,
            image=scan,
            role="labelled" if included else "weak",
            bag_label=1 if included else 0,
            split=split,
            nodules=(*included, *excluded),
            targets={"subset": str(subset)},
        )


def _centres(path: Path, *, ignored: bool = False) -> dict[str, list[Nodule]]:
    """Return the findings of each scan; LUNA16's coordinates are LPS+, ours RAS+.

    Raises:
        UserError: The table is missing, or a value is no number.
    """
    table = read_table(path, FINDINGS)
    if lacking := [name for name in COLUMNS if name not in table.columns]:
        raise UserError(f"{path} lacks the columns {', '.join(lacking)} of LUNA16's tables")
    kind = "excluded" if ignored else "nodule"
    findings: dict[str, list[Nodule]] = defaultdict(list)
    rows = zip(*(table[name] for name in COLUMNS), strict=True)
    for number, (uid, *texts) in enumerate(rows, start=2):
        try:
            x, y, z, diameter_mm = map(float, texts)
        except ValueError as error:
            raise UserError(f"{path}, row {number}: {error}") from error
        findings[uid].append(
            Nodule(
                name=f"{kind}{len(findings[uid]) + 1}",
                centre_mm=(-x, -y, z),
                diameter_mm=diameter_mm if diameter_mm > 0 else None,  # -1: not measured
                ignored=ignored,
                source="readers",
            )
        )
    return dict(findings)
