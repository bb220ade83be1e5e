"""Findings of audits, and `audits.json`, the file of a run's findings."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from semilung.files import read_json, write_text
from semilung.nested import fits
from semilung.types import UserError

Status: TypeAlias = Literal["ok", "warning", "not applicable"]

METRICS = "figures"
"""Key of the metrics in `audits.json`, kept from the first version of the file."""


@dataclass(frozen=True)
class Audit:
    """The finding of one audit.

    Attributes:
        status: `ok`, `warning`, or `not applicable` where it could not be decided.
        summary: One sentence: the finding, or why there is none.
        advice: What to do; empty where there is nothing to do.
        metrics: Name to number, finite ones only.
    """

    status: Status
    summary: str
    advice: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


def attempt(audit: Callable[[], Audit]) -> Audit:
    """Return an audit's finding; an error of the data becomes one, since audits stop nothing.

    Example:
        >>> def gone() -> Audit:
        ...     raise UserError("the scan is gone")
        >>> attempt(gone).status
        'not applicable'
    """
    try:
        return audit()
    except UserError as error:
        return Audit("not applicable", f"it could not be done: {error}")


def read_audits(path: Path) -> dict[str, Audit]:
    """Return the findings so far; none where the file is missing or damaged."""
    try:
        audits = {name: _from_json(finding) for name, finding in read_json(path).items()}
    except (UserError, TypeError, AttributeError):
        return {}
    whole = all(
        audit.status in get_args(Status) and fits(audit.metrics, dict[str, float])
        for audit in audits.values()
    )
    return audits if whole else {}


def save_audits(path: Path, audits: Mapping[str, Audit]) -> None:
    """Add findings to the file, in place of older ones: audit to its attributes.

    Raises:
        UserError: It cannot be written.
    """
    findings = {name: _to_json(audit) for name, audit in (read_audits(path) | {**audits}).items()}
    write_text(path, json.dumps(findings, indent=2, allow_nan=False) + "\n")


def _from_json(finding: Mapping[str, Any]) -> Audit:
    attributes = dict(finding.items())  # of what is no mapping, an AttributeError
    metrics = {"metrics": attributes.pop(METRICS)} if METRICS in attributes else {}
    return Audit(**attributes, **metrics)


def _to_json(audit: Audit) -> dict[str, Any]:
    return {METRICS if key == "metrics" else key: value for key, value in asdict(audit).items()}


def warn_of(audits: Mapping[str, Audit]) -> None:
    """Warn of each audit whose status is `warning`."""
    for name, audit in audits.items():
        if audit.status == "warning":
            warnings.warn(f"audit {name}: {audit.summary}. {audit.advice}", stacklevel=2)
