"""How figures are summarised."""

from __future__ import annotations

from dataclasses import dataclass

from semilung.evaluation.empty_conventions import require_policy


@dataclass
class EvaluationConfig:
    """What `semilung evaluate` makes of the figures of its cases.

    Attributes:
        empty: Whose convention for empty masks the summary shows beside ours: `semilung` (none
            beside), `nnunet`, `monai` or `pymic`; see `apply_empty_policy`.

    Raises:
        UserError: There is no such convention.
    """

    empty: str = "semilung"

    def __post_init__(self) -> None:
        """Refuse a convention that is none."""
        require_policy(self.empty)
