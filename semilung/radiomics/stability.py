"""Stability of radiomic features when masks are perturbed."""

from __future__ import annotations

import pandas as pd

from semilung.radiomics.feature_table import feature_table
from semilung.radiomics.icc import icc_1_1

KEY = ["case", "nodule"]
"""Columns that name a nodule."""


def stability_table(perturbed: pd.DataFrame) -> pd.DataFrame:
    """Return the intraclass correlation ICC(1,1) of each feature over perturbed masks.

    Args:
        perturbed: A row a nodule and mask: `case, nodule, perturbation`, then features. Masks that
            a tenth of the nodules or more lack (of a rare voxel size) are left out.

    Returns:
        Columns `feature, family, unit, ibsi, icc, low, high` (95 % interval), `nodules` (those with
        a value for every mask) and `perturbations` (masks a nodule, the unchanged one included).

    Raises:
        UserError: mirp is not installed.
    """
    counts = perturbed.groupby("perturbation")[KEY[0]].count()
    common = counts.index[counts > 0.9 * counts.max()]
    rows = perturbed[perturbed["perturbation"].isin(common)]
    features = feature_table()
    wide = rows.set_index([*KEY, "perturbation"])[[*features["feature"]]].unstack()
    scores = []
    for name in features["feature"]:
        complete = wide[name].dropna()
        scores.append((*icc_1_1(complete), len(complete), len(common)))
    columns = ["icc", "low", "high", "nodules", "perturbations"]
    return pd.concat([features, pd.DataFrame(scores, columns=columns)], axis=1)


def stable_features(table: pd.DataFrame, least: float = 0.75) -> list[str]:
    """Return the names of features whose ICC is at least `least`; an undefined one is not stable.

    Args:
        table: From `stability_table`, or its file.
        least: Of the value itself, not of its interval's lower end. Koo and Li (Journal of
            Chiropractic Medicine 15:155, 2016) call 0.75 to 0.9 good, and above excellent.

    Example:
        >>> stable_features(pd.DataFrame({"feature": ["a", "b"], "icc": [0.9, 0.5]}))
        ['a']
    """
    return table.loc[table["icc"] >= least, "feature"].tolist()
