"""Text of values, intervals, names and counts in a report, and removal of absolute paths."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from semilung.evaluation.metrics import Metric

NONE = "\N{EN DASH}"
"""Text of an undefined value or an absent setting."""

_PATH = re.compile(r"(?<![\w.~…/])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"`,;:()]+[/\\])+")
"""The folders of an absolute path anywhere in a text."""

_WHOLE_PATH = re.compile(r"^(?:~|[A-Za-z]:)?[/\\].*[/\\](?=[^/\\]*$)|^(?:~|[A-Za-z]:)?[/\\]")


def number(value: float, digits: int = 3) -> str:
    """Return a value with a fixed number of decimals and a typographic minus; a dash if NaN.

    Example:
        >>> number(-0.04321), number(1104.2, 1), number(-1e-17), number(float("nan"))
        ('−0.043', '1,104.2', '0.000', '–')
    """
    if math.isnan(value):
        return NONE
    return f"{value:z,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def unit(metric: Metric) -> str:
    """Return the unit of a metric with typographic symbols; empty for shares, as their label says.

    Example:
        >>> from semilung.evaluation.metrics import SEGMENTATION
        >>> [unit(metric) for metric in SEGMENTATION if metric.name in ("silent", "healthy_fp_mm3")]
        ['mm³ per scan', '']
    """
    return "" if metric.unit.startswith("share") else metric.unit.replace("mm3", "mm³")


def title(metric: Metric) -> str:
    """Return label and unit of a metric, such as `HD95 (mm)`."""
    return f"{metric.label} ({unit(metric)})" if unit(metric) else metric.label


def valued(metric: Metric, value: float) -> str:
    """Return a value with its label and unit, such as `HD95 5.0 mm`."""
    return f"{metric.label} {number(value, metric.digits)} {unit(metric)}".rstrip()


def amount(metric: Metric, value: float) -> str:
    """Return a value of a metric per scan with its unit, such as `5.0 mm³`."""
    parts = number(value, metric.digits), unit(metric).removesuffix("per scan").strip()
    return "\N{NO-BREAK SPACE}".join(filter(None, parts))


def false_positives(metric: Metric, value: float) -> str:
    """Return an amount of false positives: `5.0 mm³ of false positives`, `2.00 false positives`.

    Example:
        >>> from semilung.evaluation.metrics import HEALTHY_FINDINGS
        >>> [false_positives(HEALTHY_FINDINGS, value) for value in (0.0, math.nan)]
        ['no false positives', 'false positives undefined']
    """
    if math.isnan(value):
        return "false positives undefined"
    if value == 0:
        return "no false positives"
    return f"{amount(metric, value)}{' of' if 'mm3' in metric.unit else ''} false positives"


def between(low: float, high: float, digits: int = 3) -> str:
    """Return an interval as text, or an empty text if it is undefined.

    Example:
        >>> between(-0.1, 0.25, 2).split()  # its spaces do not break
        ['−0.10', 'to', '0.25']
    """
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{number(low, digits)}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{number(high, digits)}"


def signed(value: float, digits: int = 3) -> str:
    """Return a difference with its sign.

    Example:
        >>> signed(0.04321)
        '+0.043'
    """
    return ("+" if value > 0 else "") + number(value, digits)


def p_value(value: float) -> str:
    """Return a p-value as text, `< 0.001` if it is smaller.

    Example:
        >>> p_value(0.0004), p_value(0.0321)
        ('< 0.001', '0.032')
    """
    return "< 0.001" if value < 0.001 else number(value)


def listed(names: Iterable[Any], most: int = 8) -> str:
    """Return names joined by commas and "and", at most `most` of them.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    words = [str(name) for name in names]
    if len(words) > most:
        words = [*words[: most - 1], f"{len(words) - most + 1} more"]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def quoted(arm: str) -> str:
    """Return an arm's name for a sentence, in quotes if it contains spaces or punctuation.

    Example:
        >>> quoted("mean_teacher"), quoted("supervised, no healthy")
        ('mean_teacher', '“supervised, no healthy”')
    """
    return f"“{arm}”" if re.search(r"[\s,;=]", arm) else arm


def unit_of_mean(metric: Metric) -> str:
    """Return what the mean of a metric runs over, in the singular.

    Example:
        >>> from semilung.evaluation.metrics import DETECTION, SEGMENTATION
        >>> unit_of_mean(DETECTION[0]), unit_of_mean(SEGMENTATION[0])
        ('nodule', 'case')
    """
    units = {"lesions": "nodule", "healthy": "healthy scan", "positive": "case"}
    return units.get(metric.population, "scan")


def counted(count: int, noun: str) -> str:
    """Return a count and its noun, in the plural unless it is 1.

    Example:
        >>> counted(1, "seed"), counted(3, "seed")
        ('1 seed', '3 seeds')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def without_folders(value: Any) -> Any:
    """Return a value without the folders of its absolute paths, nested values included.

    Reports are shared, and folder names may contain names of users or patients.

    Example:
        >>> without_folders({"manifest": "/home/ann/my scans/m.csv", "n": 3})
        {'manifest': '…/m.csv', 'n': 3}
        >>> without_folders("cannot read /home/ann/runs/a/last.pt: gone")
        'cannot read …/last.pt: gone'
    """
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    if not isinstance(value, str):
        return value
    key, equals, path = value.partition("=")
    if equals and " " not in key and _WHOLE_PATH.match(path):
        return f"{key}={_WHOLE_PATH.sub('…/', path)}"
    whole = _WHOLE_PATH.sub("…/", value) if "\n" not in value and ": " not in value else value
    return _PATH.sub("…/", whole)


def size(name: str) -> str:
    """Return a bin of diameters with typographic symbols.

    Example:
        >>> size(">= 20 mm"), size("6-10 mm")
        ('≥ 20 mm', '6 to 10 mm')
    """
    return name.replace(">=", "≥").replace("-", " to ")
