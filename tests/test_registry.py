"""The registry refuses duplicates and wrong options."""

import pytest

from semilung.registry import Registry
from semilung.types import UserError


def make(*, size: int = 1) -> int:
    if size < 0:
        msg = "size must be at least 0"
        raise ValueError(msg)
    return size


def test_builds_by_name_with_options():
    registry = Registry("thing")
    registry.register("a")(make)
    assert registry.build("a", {"size": 3}) == 3
    assert list(registry) == ["a"]


def test_a_second_use_of_a_name_is_an_error():
    registry = Registry("thing")
    registry.register("a")(make)
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("a")(make)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("b", {}, "unknown thing 'b'\nThere are: a"),
        ("a", {"sise": 1}, r"no option 'sise'; did you mean size\?\nIts options: size"),
        ("a", {"size": -1}, "at least 0"),
        ("a", {"size": "1"}, "size is an integer, got .1."),
        ("a", {"size": True}, "size is an integer"),
        ("a", 5, "thing 'a' takes options by name, got 5"),
    ],
)
def test_build_errors_name_the_option(name, options, message):
    registry = Registry("thing")
    registry.register("a")(make)
    with pytest.raises(UserError, match=message):
        registry.build(name, options)
