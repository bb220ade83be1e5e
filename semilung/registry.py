"""Registries of named factories (strategies, models), with suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from inspect import signature
from typing import Any, Generic, TypeVar

from semilung.types import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of named factories, filled by decorator and by an entry-point group.

    Args:
        kind: Kind of object, for messages ("strategy").
        group: Entry-point group through which other packages register (`semilung.strategies`).

    Example:
        >>> colours: Registry[str] = Registry("colour")
        >>> @colours.register("red")
        ... def red(*, shade: int = 0) -> str:
        ...     return f"red{shade}"
        >>> colours.build("red", {"shade": 2})
        'red2'
    """

    def __init__(self, kind: str, *, group: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self._factories: dict[str, Callable[..., T]] = {}
        self._plugins_loaded = group is None

    def register(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Return a decorator that registers a factory; it raises ValueError on a duplicate."""

        def add(factory: Callable[..., T]) -> Callable[..., T]:
            if name in self._factories:
                raise ValueError(f"{self.kind} {name!r} is registered twice; choose another name")
            self._factories[name] = factory
            return factory

        return add

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return iter(sorted(self._factories))

    def __getitem__(self, name: str) -> Callable[..., T]:
        self._load_plugins()
        if name in self._factories:
            return self._factories[name]
        raise UserError(
            f"unknown {self.kind} {name!r}{_suggest(name, self)} There are: {', '.join(self)}"
        )

    def build(self, name: str, options: Mapping[str, Any]) -> T:
        """Call the factory of `name` with `options`, which must be among its parameters.

        Raises:
            UserError: The name or an option is unknown, or a value is invalid.
        """
        factory = self[name]
        if not isinstance(options, Mapping):
            raise UserError(f"{self.kind} {name!r} takes options by name, got {options!r:.100}")
        parameters = signature(factory, eval_str=True).parameters
        for option, value in options.items():
            if option not in parameters:
                raise UserError(
                    f"{self.kind} {name!r} has no option {option!r}{_suggest(option, parameters)} "
                    f"Its options: {', '.join(parameters) or 'none'}"
                )
            if not _fits(value, kind := parameters[option].annotation):
                raise UserError(
                    f"{self.kind} {name!r}: {option} is a {kind.__name__}, got {value!r}"
                )
        try:
            return factory(**options)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.kind} {name!r} refuses its options {dict(options)}: {error}"
            ) from error

    def _load_plugins(self) -> None:
        if not self._plugins_loaded:
            self._plugins_loaded = True
            for point in entry_points(group=self.group or ""):
                try:
                    point.load()
                except Exception as error:  # a third-party package may raise anything
                    package = point.dist.name if point.dist else "a package"
                    raise UserError(
                        f"{point.value} of {package}, which brings a {self.kind}, fails: "
                        f"{error}; fix the package, or uninstall it"
                    ) from error


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value has a plain annotated type; the factory checks any other type."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind if kind in (bool, int, str) else True


def _suggest(name: str, names: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else "."
