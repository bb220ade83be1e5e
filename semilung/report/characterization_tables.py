"""Tables of a study of nodules' features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from semilung.characterization.study_tables import StudyTables
from semilung.report.formatting import between, number, p_value, signed, size
from semilung.report.metric_tables import Table

MOST_FEATURES = 12
"""Features of an arm that are shown; the file has all."""

Row = dict[Any, Any]


def all_tables(study: StudyTables) -> Iterator[Table]:
    """Yield the tables of the page."""
    metrics = study.metrics
    yield _auc_table(
        "arms", "AUC of each arm in all nodules", metrics[metrics["population"] == "all"]
    )
    bins = metrics[~metrics["population"].isin(["all", "external"])]
    yield _auc_table("sizes", "AUC of each arm in each bin of diameters", bins)
    external = metrics[metrics["population"] == "external"]
    if len(external):
        yield _auc_table("external", "AUC of each arm with the other labels", external)
    yield _points_table(study.operating_points)
    yield _features_table(study.selected_features)


def bin_name(population: str) -> str:
    """Return the name of a bin of diameters.

    Example:
        >>> bin_name("< 6 mm"), bin_name("6-15 mm"), bin_name("all")
        ('< 6 mm', '6 to 15 mm', 'all nodules')
    """
    return {"all": "all nodules", "external": "other labels"}.get(population, size(population))


def _auc_table(name: str, caption: str, rows: pd.DataFrame) -> Table:
    header = ["arm", "nodules", "positive", "negative", "AUC (95 % interval)", "DeLong's interval",
              "difference from size", "p (Holm)", "Brier score"]  # fmt: skip
    cells = [
        [
            row["arm"],
            bin_name(row["population"]),
            str(row["positives"]),
            str(row["negatives"]),
            _with_interval(number(row["auc"]), row["low"], row["high"]),
            between(row["delong_low"], row["delong_high"]) or number(row["delong_low"]),
            _with_interval(
                signed(row["difference"]), row["difference_low"], row["difference_high"]
            ),
            p_value(row["p_holm"]),
            number(row["brier"]),
        ]
        for row in rows.to_dict("records")
    ]
    return Table(
        name, caption, header, cells, rows, text_columns=2,
        note="Intervals: bootstrap of patients, and DeLong's, which takes nodules of a patient as "
        "independent. A dash: undefined, as without nodules of a class; intervals need two "
        "patients of each class. Brier score: 0 is perfect.",
    )  # fmt: skip


def _points_table(rows: pd.DataFrame) -> Table:
    header = ["arm", "chosen for", "TP", "FP", "TN", "FN", "sensitivity (95 % interval)",
              "specificity (95 % interval)"]  # fmt: skip
    cells = [
        [
            row["arm"],
            f"{100 * row['target_sensitivity']:g} % sensitivity",
            *(number(row[name], 1) for name in ("tp", "fp", "tn", "fn")),
            *(
                _with_interval(number(row[name]), row[f"{name}_low"], row[f"{name}_high"])
                for name in ("sensitivity", "specificity")
            ),
        ]
        for row in rows.to_dict("records")
    ]
    return Table(
        "operating-points", "Operating points", header, cells, rows, text_columns=2,
        note="Thresholds were chosen in the training parts, so that the sensitivity reached in the "
        "tested nodules differs from the one that was chosen. Counts are means over repeats. "
        "Wilson intervals, which take nodules as independent.",
    )  # fmt: skip


def _features_table(rows: pd.DataFrame) -> Table:
    weighted = rows[rows["coefficient"].notna()]
    shown = (weighted if len(weighted) else rows).groupby("arm", sort=False).head(MOST_FEATURES)
    cells = [
        [row["arm"], row["feature"], f"{100 * row['share']:.0f} %", signed(row["coefficient"])]
        for row in shown.to_dict("records")
    ]
    return Table(
        "features", "Features that were selected most often",
        ["arm", "feature", "share of folds", "mean coefficient"], cells, rows, text_columns=2,
        note=f"At most {MOST_FEATURES} of each arm; selected_features.csv has all. Coefficient: "
        f"change of the log odds by one standard deviation, 0 where it was not selected. Trees "
        f"have none and take all features that pass the filters. Of correlated features one stands "
        f"for all, so a feature that is not here may say as much.",
    )  # fmt: skip


def _with_interval(value: str, low: float, high: float) -> str:
    interval = between(low, high)
    return f"{value} ({interval})" if interval else value
