"""`semilung data check`: errors of a manifest and its volumes, and a summary of its cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semilung.api.paths import PathLike
from semilung.data import examine_manifest
from semilung.data.cache.open_cohort import stream_sizes
from semilung.data.manifest.check_manifest import CheckedCase, ManifestCheck
from semilung.data.manifest.manifest_summary import manifest_summary
from semilung.strategies import build_strategy, list_strategies


@dataclass(frozen=True)
class Examination:
    """The result of a check.

    Attributes:
        check: Errors, warnings and cases of the manifest.
        summary: Lines of a table: what, and how much of it.
    """

    check: ManifestCheck
    summary: list[tuple[str, str]]


def check(manifest: PathLike) -> Examination:
    """Check a manifest and its volumes, and sum up which strategies its cases allow.

    Raises:
        UserError: The manifest cannot be read at all; errors in it are part of the result.
    """
    examined = examine_manifest(Path(manifest))
    return Examination(examined, manifest_summary(examined.cases) + _strategy_lines(examined.cases))


def _strategy_lines(cases: Sequence[CheckedCase]) -> list[tuple[str, str]]:
    """Return which strategies the training cases allow, and which streams the others lack."""
    sizes = stream_sizes([item.case for item in cases])
    lacking: dict[str, list[str]] = {}
    for name in list_strategies():
        streams = [s for s in build_strategy(name).needs.views if not sizes.get(s)]
        lacking.setdefault(" and ".join(streams), []).append(name)
    ready = lacking.pop("", [])
    lines = [("strategies", ", ".join(ready) or "none can be trained")]
    return lines + [
        (f"without {streams}", f"no {', '.join(names)}") for streams, names in lacking.items()
    ]
