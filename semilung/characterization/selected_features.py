"""Features that models of folds selected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from semilung.characterization.feature_filter import FeatureFilter
from semilung.characterization.feature_models import ChosenModel


def selected_features(model: ChosenModel, names: Sequence[Any] | pd.Index) -> pd.DataFrame:
    """Return `feature, coefficient` of the features that a model uses.

    Those are the ones that pass the filter and, of a logistic regression, have a coefficient other
    than 0: the change of the log odds by one standard deviation. Trees have none: NaN.
    """
    prepare, classifier = (step for _, step in model.pipeline.steps)
    filters = [step for _, step in prepare.steps if isinstance(step, FeatureFilter)]
    passing = filters[0].kept_
    coefficients = getattr(classifier, "coef_", np.full((1, len(passing)), np.nan))[0]
    table = pd.DataFrame({"feature": np.array(names)[passing], "coefficient": coefficients})
    return table[table["coefficient"] != 0]


def feature_shares(selected: Sequence[pd.DataFrame], folds: int) -> pd.DataFrame:
    """Return how often each arm selected each feature, the most frequent first.

    Args:
        selected: Tables of all folds, as of `selected_features`, with the column `arm`.
        folds: Number of folds of all repeats.

    Returns:
        Columns `arm, feature, share` of the folds, and `coefficient`: mean over all folds, 0 where
        the feature was not selected; NaN for trees. Arms are in the order of the tables.

    Example:
        >>> fold = pd.DataFrame({"arm": "a", "feature": ["x", "y"], "coefficient": [2.0, 1.0]})
        >>> feature_shares([fold, fold.iloc[:1]], 2).to_numpy().tolist()
        [['a', 'x', 1.0, 2.0], ['a', 'y', 0.5, 0.5]]
    """
    rows = pd.concat(selected, ignore_index=True)
    arms = rows["arm"].unique()
    groups = rows.groupby(["arm", "feature"], sort=False)["coefficient"]
    table = pd.DataFrame(
        {"share": groups.size() / folds, "coefficient": groups.sum(min_count=1) / folds}
    ).reset_index()
    order = table.assign(
        arm=pd.Categorical(table["arm"], arms), size=table["coefficient"].abs()
    ).sort_values(["arm", "share", "size", "feature"], ascending=[True, False, False, True])
    return table.loc[order.index].reset_index(drop=True)
