"""Parameters of a network that a training leaves as they are (`optim.frozen`)."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from semilung.models import Segmenter
from semilung.types import UserError

BODY, ENCODER = "body", "encoder"
"""Names of parts: the backbone without its own head, and what it computes before its decoder."""


def freeze(student: Segmenter, names: Sequence[str]) -> None:
    """Keep parameters of a network from being trained.

    Args:
        student: The network.
        names: `body`, `encoder`, or patterns of parameter names with `*` for anything.

    Raises:
        UserError: A name matches no parameter, or none is left to train.
    """
    for name in names:
        patterns = _patterns(student, name)
        matching = [
            parameter
            for parameter_name, parameter in student.named_parameters()
            if any(fnmatchcase(parameter_name, pattern) for pattern in patterns)
            and not (name == BODY and parameter_name.startswith("backbone.head."))
        ]
        if not matching:
            every = [parameter_name for parameter_name, _ in student.named_parameters()]
            raise UserError(
                f"optim.frozen: no parameter of the network is named {name!r}; give {BODY}, "
                f"{ENCODER}, or patterns of names such as {every[0]}, {every[-1]} (* for anything)"
            )
        for parameter in matching:
            parameter.requires_grad_(False)
    if names and not any(parameter.requires_grad for parameter in student.parameters()):
        raise UserError(
            f"optim.frozen={list(names)} leaves nothing of the network to train; leave a part out"
        )


def _patterns(student: Segmenter, name: str) -> list[str]:
    if name == BODY:
        return ["backbone.*"]
    if name != ENCODER:
        return [name]
    parts: Sequence[str] = getattr(student.backbone, "encoder_parts", ())
    if not parts:
        raise UserError(
            f"optim.frozen: {type(student.backbone).__name__} does not say what its encoder is; "
            f"give patterns of parameter names, with * for anything"
        )
    return [f"backbone.{part}.*" for part in parts]
