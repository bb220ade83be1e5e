"""`semilung characterize`: what features of nodules say about a target, next to their size."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import sklearn
from rich.console import Console
from rich.progress import track

from semilung import __version__
from semilung.api.characterization_inputs import (
    StudyInputs,
    read_inputs,
    require_folder,
    study_settings,
)
from semilung.api.paths import PathLike
from semilung.characterization import (
    cross_validate,
    fold_table,
    make_folds,
    read_study,
)
from semilung.characterization.study_tables import RECORD, StudyTables
from semilung.csv_tables import write_csv
from semilung.files import write_text
from semilung.nested import plain
from semilung.report.characterization_page import StudyDescription, characterization_page


@dataclass(frozen=True)
class Characterization:
    """What a study found.

    Attributes:
        page: The HTML page; the tables are next to it.
        metrics: A row a population and arm, see `metrics_table`.
        scores: Out-of-fold scores: a row a repeat, arm and nodule.
    """

    page: Path
    metrics: pd.DataFrame
    scores: pd.DataFrame

    def summary(self) -> list[str]:
        """Return a line for each arm, in all nodules."""
        lines = []
        for row in self.metrics[self.metrics["population"] == "all"].to_dict("records"):
            line = f"{row['arm']}: AUC {row['auc']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
            if not math.isnan(row["difference"]):
                line += (
                    f", {row['difference']:+.3f} from size ({row['difference_low']:+.3f} to "
                    f"{row['difference_high']:+.3f})"
                )
            lines.append(line)
        return lines


def characterize(
    features: PathLike,
    nodules: PathLike,
    out: PathLike,
    *,
    stability: PathLike | None = None,
    scores: Mapping[str, PathLike] | None = None,
    external: PathLike | None = None,
    settings: Sequence[str] = (),
    progress: bool = False,
) -> Characterization:
    """Compare what features of nodules say about a target with what their size alone says.

    Everything that is fitted or chosen is so within the outer training folds. Files are written at
    the end.

    Args:
        features: Table of `semilung radiomics`.
        nodules: Table with the target of each nodule.
        out: Folder of the page and its tables.
        stability: Table of the features' stability; unstable ones are left out.
        scores: Name to table of the scores of nets that were trained on these folds.
        external: Table of other labels of the same nodules, such as pathology.
        settings: `key=value` words for `CharacterizationSettings`, such as `repeats=1`.
        progress: Show progress on standard error.

    Raises:
        UserError: A setting or a table is invalid, tables do not match, labels of several sources
            are mixed, classes have too few patients, or the folder cannot be written.
    """
    chosen, out = study_settings(settings), Path(out)
    nets = dict(scores or {})
    require_folder(out, [features, nodules, stability, external, *nets.values()])
    inputs = read_inputs(
        Path(features),
        Path(nodules),
        chosen,
        stability=None if stability is None else Path(stability),
        scores=nets,
        external=None if external is None else Path(external),
    )
    tables = _run(inputs, progress=progress)
    page = characterization_page(tables, _description(inputs))
    record = {
        "semilung": __version__,
        "scikit-learn": sklearn.__version__,
        "settings": asdict(chosen),
        "source": inputs.study.source,
        "tables": inputs.files,
    }
    (out / RECORD).unlink(missing_ok=True)
    for name, table in tables.files().items():
        write_csv(out / name, table)
    write_text(out / "index.html", page)
    write_text(out / RECORD, json.dumps(plain(record), indent=2))
    return Characterization(out / "index.html", tables.metrics, tables.scores)


def write_folds(
    features: PathLike, nodules: PathLike, out: PathLike, *, settings: Sequence[str] = ()
) -> Path:
    """Write the folds of a study, `folds.csv`, on which nets are to be trained.

    A net of a repeat and fold is trained on nodules of the part `train`; its scores of the parts
    `inner` and `outer` are an input of `characterize`.

    Args:
        features: Table of `semilung radiomics`.
        nodules: Table with the target of each nodule.
        out: Folder of the file.
        settings: As of `characterize`.

    Raises:
        UserError: As `characterize`.
    """
    chosen, out = study_settings(settings), Path(out)
    require_folder(out, [features, nodules], folds_only=True)
    study = read_study(Path(features), Path(nodules), chosen)
    write_csv(out / "folds.csv", fold_table(study.nodules, make_folds(study.nodules, chosen)))
    return out / "folds.csv"


def _run(inputs: StudyInputs, *, progress: bool) -> StudyTables:
    results = cross_validate(
        inputs.study,
        inputs.folds,
        inputs.settings,
        stable=inputs.stable,
        evidence=inputs.evidence,
    )
    tracked = track(
        results,
        "Cross-validation",
        total=len(inputs.folds),
        console=Console(stderr=True),
        transient=True,
        disable=not progress,
    )
    return StudyTables.of(inputs.study, [*tracked], inputs.settings, inputs.external)


def _description(inputs: StudyInputs) -> StudyDescription:
    return StudyDescription(
        inputs.settings,
        source=inputs.study.source,
        left_out=inputs.study.left_out,
        features=inputs.study.features.shape[1],
        stable=None if inputs.stable is None else len(inputs.stable),
        nets=[*inputs.evidence],
        external_source=inputs.external_source,
        external_labels=0 if inputs.external is None else len(inputs.external),
    )
