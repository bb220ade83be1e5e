"""Empty masks scored as other toolkits score them, for comparison."""

from __future__ import annotations

import pandas as pd

from semilung.types import UserError

POLICIES = ("semilung", "nnunet", "monai", "pymic")
"""Conventions for empty masks that figures can be summarised by."""


def apply_empty_policy(cases: pd.DataFrame, policy: str) -> pd.DataFrame:
    """Rewrite the overlap figures of `cases.csv` as another toolkit would score empty masks.

    Args:
        cases: Rows of `cases.csv`, in our own policy.
        policy: One of `POLICIES`.

    Returns:
        A copy.

    Raises:
        UserError: The policy is none of these.
    """
    if policy not in POLICIES:
        raise UserError(f"evaluation.empty is one of {', '.join(POLICIES)}; got {policy!r}")
    cases = cases.copy()
    no_reference, silent = cases["reference_volume_mm3"] == 0, cases["predicted_volume_mm3"] == 0
    if policy == "nnunet":
        cases.loc[no_reference & ~silent, "dice"] = 0.0
    if policy == "pymic":
        cases.loc[no_reference, ["dice", "hd95_mm"]] = 0.0, 100.0
        cases.loc[silent & ~no_reference, "hd95_mm"] = 100.0
        cases.loc[no_reference & silent, ["dice", "hd95_mm"]] = 1.0, 0.0
    return cases
