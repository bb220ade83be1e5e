"""Catalogue of the available tasks, strategies, losses, models and formats, one line each."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from semilung import losses
from semilung.data.importers import importers
from semilung.models import models
from semilung.strategies import Needs, build_strategy, list_strategies, strategies
from semilung.tasks import build_tasks, tasks

KINDS = ("tasks", "strategies", "losses", "models", "formats")


class Entry(NamedTuple):
    """Name, summary and requirements of a task, strategy, loss, model or format."""

    name: str
    summary: str
    needs: str


def catalogue(kind: str) -> list[Entry]:
    """Return all entries of a kind, sorted by name.

    Args:
        kind: One of `KINDS`.

    Example:
        >>> [entry.needs for entry in catalogue("strategies") if entry.name == "mean_teacher"]
        ['unlabelled; teacher']
    """
    if kind == "strategies":
        return [
            Entry(name, _summary(strategies[name]), _needs(build_strategy(name).needs))
            for name in list_strategies()
        ]
    if kind == "tasks":
        return [
            Entry(name, _summary(tasks[name]), f"strategy `{task.base}`; {', '.join(task.fields)}")
            for name, task in build_tasks(dict.fromkeys(tasks)).items()
        ]
    if kind == "formats":
        return [
            Entry(name, _summary(importers[name]), _options(importers[name])) for name in importers
        ]
    if kind == "models":
        return [Entry(name, _summary(models[name]), _options(models[name])) for name in models]
    functions = {name: getattr(losses, name) for name in sorted(losses.__all__)}
    return [Entry(name, _summary(f), _arguments(f)) for name, f in functions.items()]


def markdown(kind: str) -> str:
    """Return the catalogue as the Markdown table of the README."""
    rows = [f"| `{e.name}` | {e.summary} | {e.needs} |" for e in catalogue(kind)]
    return "\n".join(["| name | what it does | needs |", "|---|---|---|", *rows]) + "\n"


def _summary(factory: Callable[..., Any]) -> str:
    """Return the first paragraph of a docstring in one line."""
    first = (inspect.getdoc(factory) or "").split("\n\n")[0]
    return " ".join(first.split())


def _needs(needs: Needs) -> str:
    """Return streams (optional ones in brackets), teacher, heads and label fields."""
    optional = [f"[{stream}]" for stream in needs.optional if stream not in needs.views]
    parts = [", ".join([*needs.views, *optional])]
    if needs.teacher:
        parts.append("teacher")
    parts += [f"head `{name}`" for name in needs.heads]
    parts += [field for field in needs.fields if field == "anatomy"]
    return "; ".join(parts)


def _options(factory: Callable[..., Any]) -> str:
    return ", ".join(inspect.signature(factory).parameters)


def _arguments(function: Callable[..., Any]) -> str:
    """Return the names of the tensors that a loss reads."""
    parameters = inspect.signature(function).parameters.values()
    return ", ".join(p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY)
