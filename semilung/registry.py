"""Names to factories, with duplicates refused and near misses suggested."""

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
        kind: What the names stand for, used in messages ("strategy").
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
        self._outside_loaded = group is None

    def register(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Decorator that files a class or function under `name`; a second use of it is an error."""

        def add(factory: Callable[..., T]) -> Callable[..., T]:
            if name in self._factories:
                msg = f"{self.kind} {name!r} is registered twice; choose another name"
                raise ValueError(msg)
            self._factories[name] = factory
            return factory

        return add

    def __iter__(self) -> Iterator[str]:
        self._load_outside()
        return iter(sorted(self._factories))

    def __getitem__(self, name: str) -> Callable[..., T]:
        self._load_outside()
        if name in self._factories:
            return self._factories[name]
        msg = f"unknown {self.kind} {name!r}{_suggest(name, self)} There are: {', '.join(self)}"
        raise UserError(msg)

    def build(self, name: str, options: Mapping[str, Any]) -> T:
        """Call the factory of `name` with `options`, which must all be parameters of it.

        Raises:
            UserError: Unknown name or option, or a value that does not suit it.
        """
        factory = self[name]
        parameters = signature(factory, eval_str=True).parameters
        for option, value in options.items():
            if option not in parameters:
                msg = (
                    f"{self.kind} {name!r} has no option {option!r}{_suggest(option, parameters)} "
                    f"Its options: {', '.join(parameters) or 'none'}"
                )
                raise UserError(msg)
            if not _fits(value, kind := parameters[option].annotation):
                msg = f"{self.kind} {name!r}: {option} is a {kind.__name__}, got {value!r}"
                raise UserError(msg)
        try:
            return factory(**options)
        except (TypeError, ValueError) as error:
            msg = f"{self.kind} {name!r} refuses its options {dict(options)}: {error}"
            raise UserError(msg) from error

    def _load_outside(self) -> None:
        if not self._outside_loaded:
            self._outside_loaded = True
            for point in entry_points(group=self.group or ""):
                try:
                    point.load()
                except Exception as error:  # whatever a package of someone else's does
                    package = point.dist.name if point.dist else "a package"
                    msg = f"{point.value} of {package}, which brings a {self.kind}, fails: {error}"
                    raise UserError(f"{msg}; mend the package, or uninstall it") from error


def _fits(value: Any, kind: Any) -> bool:
    """Whether a plain value suits a plain annotation; other annotations are the factory's care."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind if kind in (bool, int, str) else True


def _suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else "."
