"""Rows of features on disk, a file a case, so that interrupted work goes on where it stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semilung.data.io.volume import files_of
from semilung.data.manifest.cases import Case
from semilung.files import is_there, read_json, write_text
from semilung.nested import leaves, plain
from semilung.radiomics.nodule_rows import NoduleRows
from semilung.types import UserError


@dataclass(frozen=True)
class FeatureStore:
    """Rows of cases, computed with one record of settings and versions.

    Attributes:
        folder: Holds `settings.json`, and `rows/<case>.json` for each case.
        perturb: Whether the rows of perturbed masks are wanted too.
    """

    folder: Path
    perturb: bool = False

    def open(self, record: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """Make the folder, or accept one of the same record.

        Args:
            record: Settings and versions, plain values.
            overwrite: Remove rows of other settings, and all others too.

        Raises:
            UserError: The folder holds rows of other settings or versions.
        """
        path = self.folder / "settings.json"
        if overwrite and path.exists():
            shutil.rmtree(self.folder)
        if not path.exists():
            write_text(path, json.dumps(plain(dict(record)), indent=2))
            return
        stored, current = leaves(read_json(path)), leaves(plain(dict(record)))
        for name in sorted({*stored, *current}):
            if stored.get(name) != current.get(name):
                raise UserError(
                    f"{self.folder} holds rows with {name} {stored.get(name)}, which is now "
                    f"{current.get(name)}; give another --out, or --overwrite to compute all anew"
                )

    def has(self, case: Case) -> bool:
        """Return whether the rows of a case are there, and its files have not changed since."""
        path = self._path(case)
        if not is_there(path):
            return False
        stored = read_json(path)
        done = stored["perturbed"] or not stored["nodules"] or not self.perturb
        return bool(done and stored["files"] == _state(case))

    def write(self, case: Case, rows: NoduleRows) -> None:
        """Write the rows of a case."""
        write_text(self._path(case), json.dumps({"files": _state(case), **asdict(rows)}))

    def read(self, cases: Sequence[Case]) -> NoduleRows:
        """Return the rows of those cases that have any, in their order."""
        rows = NoduleRows([], [])
        for case in cases:
            if self._path(case).exists():
                stored = read_json(self._path(case))
                rows.nodules.extend(stored["nodules"])
                rows.perturbed.extend(stored["perturbed"])
        return rows

    def _path(self, case: Case) -> Path:
        return self.folder / "rows" / f"{case.case}.json"


def _state(case: Case) -> list[list[Any]]:
    """Return name, size and modification time of the files of image and mask."""
    volumes = [case.image, *([case.mask] if case.mask else [])]
    files = [file for volume in volumes for file in files_of(volume)]
    stats = [(file, file.stat()) for file in files if is_there(file)]
    return [[file.name, stat.st_size, stat.st_mtime_ns] for file, stat in stats]
