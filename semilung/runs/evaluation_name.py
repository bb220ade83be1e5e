"""Names of the folders that evaluations of a run are kept in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from semilung.inference import InferenceConfig


def changed_settings(
    saved: InferenceConfig,
    requested: InferenceConfig,
    threshold: float | Literal["val"] | None = None,
) -> dict[str, Any]:
    """Return the inference settings of an evaluation that change metrics and differ from the run's.

    Example:
        >>> changed_settings(InferenceConfig(), InferenceConfig(batch_size=1, overlap=0.25), "val")
        {'overlap': 0.25, 'threshold': 'val'}
    """
    values = asdict(requested) | ({} if threshold is None else {"threshold": threshold})
    del values["batch_size"]  # of windows, which changes no metric
    return {name: value for name, value in values.items() if value != getattr(saved, name)}


def evaluation_name(
    what: str, checkpoint: str, *, runs: int = 1, changed: Mapping[str, Any] | None = None
) -> str:
    """Return the name of an evaluation's folder within the first run's.

    A report shows `evaluation-<what>-<checkpoint>` as the run's own metrics, so an evaluation with
    other settings has a name of its own.

    Args:
        what: `val`, `test`, or the name of another manifest.
        checkpoint: `last` or `best`.
        runs: How many runs were averaged.
        changed: Settings that differ from the run's own, see `changed_settings`.

    Example:
        >>> evaluation_name("test", "last", runs=2, changed={"threshold": 0.9})
        'evaluation-test-last-2_runs-threshold_0.9'
    """
    marks = [f"{runs}_runs"] if runs > 1 else []
    marks += [f"{name}_{value}" for name, value in (changed or {}).items()]
    return "-".join(["evaluation", what, checkpoint, *(_safe(mark) for mark in marks)])


def manifest_name(manifest: Path) -> str:
    """Return a name for the cases of a manifest: its folder, its file and a hash of its path.

    Example:
        >>> manifest_name(Path("/data/site A/manifest.csv"))
        'site_A_manifest_022e22'
    """
    path = manifest.expanduser().resolve()
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:6]
    return _safe(f"{path.parent.name}_{path.stem}_{digest}")


def _safe(name: str) -> str:
    return re.sub(r"[^\w.]+", "_", name).strip("_")
