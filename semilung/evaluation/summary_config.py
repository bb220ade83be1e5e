"""Settings of the evaluation summary."""

from __future__ import annotations

from dataclasses import dataclass

from semilung.evaluation.empty_conventions import require_policy


@dataclass
class EvaluationConfig:
    """Settings of `semilung evaluate` that are not part of the model.

    Attributes:
        empty: Convention for empty masks that the summary shows in addition: `nnunet`, `monai` or
            `pymic`; `semilung` adds none. See `apply_empty_policy`.

    Raises:
        UserError: There is no such convention.
    """

    empty: str = "semilung"

    def __post_init__(self) -> None:
        """Raise UserError unless the convention exists."""
        require_policy(self.empty)
