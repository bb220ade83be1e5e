"""What an audit finds, and `audits.json`, which keeps it with the run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from semilung.files import read_json, write_text
from semilung.nested import fits
from semilung.types import UserError

Status: TypeAlias = Literal["ok", "warning", "not applicable"]


@dataclass(frozen=True)
class Audit:
    """One audit's finding, as `audits.json` holds it under the audit's name.

    Attributes:
        status: `ok`, `warning`, or `not applicable` where it could not be judged.
        summary: One sentence: what was found, or why nothing was.
        advice: What to do; empty where there is nothing to do.
        figures: Name to number, finite ones only.
    """

    status: Status
    summary: str
    advice: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


def attempt(audit: Callable[[], Audit]) -> Audit:
    """The audit's finding; one that data stop says so, for an audit never stops what it audits.

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
    """The findings so far; none where there is no such file, or none that can be read."""
    try:
        found = {name: Audit(**finding) for name, finding in read_json(path).items()}
    except (UserError, TypeError, AttributeError):
        return {}
    whole = all(
        audit.status in get_args(Status) and fits(audit.figures, dict[str, float])
        for audit in found.values()
    )
    return found if whole else {}


def keep_audits(path: Path, found: Mapping[str, Audit]) -> None:
    """Add findings to the file `{audit: {status, summary, advice, figures}}`, in place of older.

    Raises:
        UserError: It cannot be written.
    """
    findings = {name: asdict(audit) for name, audit in (read_audits(path) | {**found}).items()}
    write_text(path, json.dumps(findings, indent=2, allow_nan=False) + "\n")


def warn_of(audits: Mapping[str, Audit]) -> None:
    """Give a warning for each audit that found fault."""
    for name, audit in audits.items():
        if audit.status == "warning":
            warnings.warn(f"audit {name}: {audit.summary}. {audit.advice}", stacklevel=2)
