"""Registries of named factories (strategies, models), with suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from inspect import signature
from typing import Any, Generic, TypeVar

from semilung.nested import describe_type, fits
from semilung.suggestions import suggestion
from semilung.types import UserError

T = TypeVar("T")

PLAIN = (bool, int, float, str)
"""Annotations that are checked here; a factory checks its options of any other type."""


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
            f"unknown {self.kind} {name!r}{suggestion(name, self)}\nThere are: {', '.join(self)}"
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
                    f"{self.kind} {name!r} has no option {option!r}"
                    f"{suggestion(option, parameters)}\n"
                    f"Its options: {', '.join(parameters) or 'none'}"
                )
            kind = parameters[option].annotation
            if kind in PLAIN and not fits(value, kind):
                raise UserError(
                    f"{self.kind} {name!r}: {option} is {describe_type(kind)}, got {value!r}"
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
