"""`semilung radiomics`: tables of features of the nodules of a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from semilung import __version__
from semilung.api.paths import PathLike, listed, require_csv
from semilung.csv_tables import write_csv
from semilung.data import Case, read_manifest
from semilung.files import write_text
from semilung.jobs import run_jobs
from semilung.nested import plain
from semilung.radiomics import RadiomicsSettings, feature_table, stability_table
from semilung.radiomics.feature_store import FeatureStore
from semilung.radiomics.mirp_objects import require_mirp
from semilung.radiomics.nodule_masks import PredictedMask
from semilung.radiomics.nodule_rows import nodule_rows
from semilung.runs.config_values import build_settings, parse_settings
from semilung.types import UserError

Item = tuple[Case, PredictedMask | None]
"""A case, and a run's mask of it."""


@dataclass(frozen=True)
class Radiomics:
    """What was written.

    Attributes:
        features: Table of features, a row a nodule.
        table: Its path; settings, versions, units and IBSI codes are in the JSON next to it.
        stability: Table of the features' stability; None where it was not asked for.
    """

    features: pd.DataFrame
    table: Path
    stability: pd.DataFrame | None = None


def radiomics(
    manifest: PathLike,
    out: PathLike,
    *,
    runs: PathLike | Sequence[PathLike] = (),
    checkpoint: str = "last",
    threshold: float | None = None,
    settings: Sequence[str] = (),
    stability: PathLike | None = None,
    overwrite: bool = False,
    progress: bool = False,
    processes: int | None = None,
    scheduler: str | None = None,
) -> Radiomics:
    """Compute the radiomic features of the nodules of a manifest.

    Rows are also kept a file a case, in the folder `<out>_cases`, from which the same call goes on
    where it was interrupted; only cases whose files have changed are computed again.

    Args:
        manifest: CSV of the cases. Those with a mask of their own are used.
        out: Table to write, a CSV.
        runs: A run's folder, or several whose probabilities are averaged: nodules are the findings
            of their masks, in all cases of the manifest.
        checkpoint: `last` or `best`.
        threshold: Foreground above this probability; the run's by default.
        settings: `key=value` words for `RadiomicsSettings`, such as `spacing_mm=1`.
        stability: Table of the stability over perturbed masks to write too, a CSV. It takes about
            nine times as long.
        overwrite: Compute all cases anew.
        progress: Show progress on standard error.
        processes: Number of worker processes; None is one a core, at most 8.
        scheduler: Dask cluster on which to work, as in `run_jobs`.

    Raises:
        UserError: Before anything is computed: mirp is not installed, the manifest cannot be read
            or names no mask, a setting is invalid, `out` holds rows of other settings. At the end,
            when the table of the others is written: cases that failed, each with its reason.
    """
    out = require_csv(out, "--out")
    stability_path = None if stability is None else require_csv(stability, "--stability")
    chosen = build_settings(RadiomicsSettings, parse_settings(settings, "radiomics."), "radiomics.")
    record: dict[str, Any] = {
        "semilung": __version__,
        "mirp": require_mirp(),
        "settings": asdict(chosen),
    }
    cases, folders = read_manifest(manifest), listed(runs, "runs") if runs else []
    store = FeatureStore(out.with_name(f"{out.stem}_cases"), perturb=stability is not None)
    items: list[Item]
    if folders:
        from semilung.api.radiomics_prediction import predicted_masks, run_record

        record["run"] = run_record(folders, checkpoint, threshold)
        store.open(record, overwrite=overwrite)
        predicted, failures = predicted_masks(
            folders, cases, store.folder / "masks", checkpoint=checkpoint, threshold=threshold,
            progress=progress,
        )  # fmt: skip
        items = [*predicted]
    else:
        items, failures = [(case, None) for case in _with_masks(cases, manifest)], {}
        store.open(record, overwrite=overwrite)
    failures |= run_jobs(
        partial(_compute, settings=chosen, store=store),
        [(item[0].case, item) for item in items if not store.has(item[0])],
        title="Radiomics",
        progress=progress,
        processes=processes,
        scheduler=scheduler,
    )
    written = _write_tables(store, [case for case, _ in items], record, out, stability_path)
    if failures:
        raise _summary(failures, len(cases) if folders else len(items), out)
    return written


def _with_masks(cases: Sequence[Case], manifest: PathLike) -> list[Case]:
    """Return the cases whose own mask is used.

    Raises:
        UserError: There is none.
    """
    masked = [case for case in cases if case.role == "labelled" and case.mask is not None]
    if not masked:
        raise UserError(
            f"{manifest}: none of {len(cases)} cases is labelled and has a mask; give a manifest "
            f"with masks, or a run that predicts them (--run RUN)"
        )
    return masked


def _compute(item: Item, *, settings: RadiomicsSettings, store: FeatureStore) -> None:
    """Compute and store the rows of a case."""
    case, predicted = item
    store.write(case, nodule_rows(case, settings, predicted=predicted, perturb=store.perturb))


def _write_tables(
    store: FeatureStore,
    cases: Sequence[Case],
    record: Mapping[str, Any],
    out: Path,
    stability_path: Path | None,
) -> Radiomics:
    """Write all tables, and the JSON with settings, versions, units and IBSI codes."""
    rows = store.read(cases)
    units = feature_table()
    content = {**record, "features": units.to_dict("records")}
    write_text(out.with_suffix(".json"), json.dumps(plain(content), indent=2))
    features = pd.DataFrame(rows.nodules)
    if features.empty:
        features = pd.DataFrame(columns=["case", "patient", "nodule", *units["feature"]])
    write_csv(out, features)
    if stability_path is None or not rows.perturbed:
        return Radiomics(features, out)
    stability = stability_table(pd.DataFrame(rows.perturbed))
    write_csv(stability_path, stability)
    return Radiomics(features, out, stability)


def _summary(failures: Mapping[str, str], cases: int, out: Path) -> UserError:
    """Return an error with the cases that failed, a line each."""
    lines = [f"  {name}: {reason}" for name, reason in sorted(failures.items())]
    others = [f"The rows of the others are in {out}"] if len(failures) < cases else []
    return UserError(
        "\n".join([f"{len(failures)} of {cases} cases have no features:", *lines, *others])
    )
