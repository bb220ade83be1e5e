"""The page of a study of nodules' features: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from semilung import __version__
from semilung.characterization import SIZE, CharacterizationSettings
from semilung.characterization.study_tables import FILES, StudyTables
from semilung.report import characterization_plots as plots
from semilung.report import characterization_tables as tables
from semilung.report.formatting import between, counted, listed, number, p_value, quoted, signed
from semilung.report.page_environment import page_environment
from semilung.report.plot_style import assign_styles

Row = dict[str, Any]
SIGNIFICANT = 0.05
FEW = 10
"""With fewer nodules of a class than this, an AUC is called uncertain."""


@dataclass(frozen=True)
class StudyDescription:
    """What was studied, for the page's text.

    Attributes:
        settings: Of the study.
        source: Where labels come from; empty if the table does not say.
        left_out: Number of nodules of neither class.
        features: Number of features.
        stable: Number of stable ones; None where no table of stability was given.
        nets: Names of nets whose scores were given.
        external_source: Where labels of the second evaluation come from.
        external_labels: Number of its labelled nodules.
    """

    settings: CharacterizationSettings
    source: str
    left_out: int
    features: int
    stable: int | None
    nets: Sequence[str]
    external_source: str
    external_labels: int


def characterization_page(study: StudyTables, description: StudyDescription) -> str:
    """Return the page as HTML."""
    styles = assign_styles([*study.results.scores], SIZE)
    everyone = _rows(study.metrics, "all")
    external = _rows(study.metrics, "external")
    nodules = study.results.nodules
    context = {
        "version": __version__,
        "title": description.settings.target,
        "facts": {
            "nodules": len(nodules),
            "patients": nodules["patient"].nunique(),
            "positive": int(nodules["label"].sum()),
            "negative": int((nodules["label"] == 0).sum()),
            "features": description.features,
        },
        "headline": headline(everyone),
        "by_size": size_sentences(study.metrics),
        "caveats": caveats(study.metrics, description),
        "method": method(description),
        "external": external_sentence(external, description),
        "tables": {table.name: table for table in tables.all_tables(study)},
        "plots": {
            plot.name: plot
            for plot in (
                plots.auc_by_size(study.metrics, styles),
                plots.roc(study.results, styles),
                plots.calibration(study.calibration, styles),
                plots.decision(study.decision_curve, styles),
            )
        },
        "files": [name for name in FILES if name.endswith(("csv", "json"))],
    }
    return page_environment().get_template("characterization.html.j2").render(**context)


def headline(rows: Sequence[Row]) -> str:
    """Return what the best arm adds to size alone, and which arms are shown to add something."""
    size = next(row for row in rows if row["arm"] == SIZE)
    others = [row for row in rows if row["arm"] != SIZE]
    best = max(others, key=lambda row: row["auc"])
    start = (
        f"Size alone reaches an AUC of {_valued(size, 'auc', 'low', 'high')}. The best of "
        f"{counted(len(others), 'other arm')} is {quoted(best['arm'])} with "
        f"{_valued(best, 'auc', 'low', 'high')}: {_difference(best)} from size"
    )
    above = [row for row in others if row["difference_low"] > 0]
    shown = [row for row in above if row["p_holm"] < SIGNIFICANT]
    arms = ", ".join(
        f"{quoted(row['arm'])} ({_difference(row)}, p {_p(row)})" for row in shown or above
    )
    if shown:
        return f"{start}. Shown to say more than size here, p after Holm's correction: {arms}."
    if above:
        return (
            f"{start}. The interval excludes zero, but p after Holm's correction is not small: "
            f"{arms}. No arm is shown to say more than size."
        )
    return f"{start}. No arm is shown to say more than size."


def size_sentences(metrics: pd.DataFrame) -> list[str]:
    """Return a sentence for each bin of diameters: size, and the best other arm."""
    sentences = []
    for population in metrics["population"].unique():
        if population in ("all", "external"):
            continue
        rows = _rows(metrics, population)
        size = next(row for row in rows if row["arm"] == SIZE)
        classes = f"{size['positives']} positive and {size['negatives']} negative nodules"
        start = f"{tables.bin_name(population)}: {classes}"
        if not min(size["positives"], size["negatives"]):
            sentences.append(f"{start}, so no AUC is defined.")
            continue
        best = max((row for row in rows if row["arm"] != SIZE), key=lambda row: row["auc"])
        doubt = ", which are too few to conclude" if _few(size) else ""
        sentences.append(
            f"{start}{doubt}. Size {number(size['auc'])}, {quoted(best['arm'])} "
            f"{number(best['auc'])}: {_difference(best)}."
        )
    return sentences


def caveats(metrics: pd.DataFrame, description: StudyDescription) -> list[str]:
    """Return what limits the conclusions."""
    settings, everyone = description.settings, _rows(metrics, "all")
    sentences = [source_sentence(description.source)]
    if description.left_out:
        sentences.append(
            f"{counted(description.left_out, 'nodule')} of neither class were left out. Where "
            f"they lie between the classes they are the hard ones, and all values would be lower."
        )
    if len(everyone) > 2:
        sentences.append(
            "The best of several arms was picked by its result here, which flatters it."
        )
    sentences.append(
        f"Intervals are of {settings.bootstraps} resamples of patients with trained models kept: "
        f"they do not hold the variation between trainings, nor between hospitals."
    )
    if len(metrics["population"].unique()) > 2:
        sentences.append(
            "Within a bin of diameters size says less by construction. Each bin is corrected for "
            "the number of arms, not of bins."
        )
    return sentences


def source_sentence(source: str) -> str:
    """Return where labels come from, and what that means."""
    if not source:
        return (
            "The table of nodules does not say where the labels come from (a column source): "
            "readers' votes are not pathology."
        )
    if source.lower().startswith("reader"):
        return (
            f"Labels are votes of readers (source: {source}), not pathology: they say what a "
            f"nodule looks like to a radiologist, who sees its size too."
        )
    if source.lower().startswith(("patholog", "histolog")):
        return f"Labels are of the source “{source}”; readers' votes are not among them."
    return (
        f"Labels are of the source “{source}”. If these are readers' votes, they are not pathology."
    )


def method(description: StudyDescription) -> list[str]:
    """Return what was done, in sentences."""
    settings = description.settings
    filters = f"a filter of redundancy (|Spearman| above {settings.redundancy:g})"
    if description.stable is not None:
        filters = (
            f"stability ({description.stable} of {description.features} features have an ICC of "
            f"{settings.stability:g} or more) and {filters}"
        )
    chosen = f"hyperparameters ({settings.inner_folds} inner folds, log loss)"
    fitted = f"{chosen} and thresholds are of the whole training part"
    thresholds = "on probabilities of its inner folds"
    if description.nets:
        fitted = (
            f"and {chosen} are of the part on which the nets were trained. One more fold of "
            f"patients serves to calibrate the nets' scores, to weigh them in the fusion and to "
            f"choose all thresholds"
        )
        thresholds = (
            "on the fold of patients that calibrates the nets, to which the arms of nets and "
            "fusions are fitted too: the thresholds of these are somewhat optimistic"
        )
    positive, negative = (listed(values) for values in (settings.positive, settings.negative))
    return [
        f"Positive are nodules with {settings.target} {positive}, negative those with {negative}.",
        f"{settings.folds} outer folds of patients, {settings.repeats} times; no patient is in two "
        f"parts of a fold. Imputation, {filters}, scaling, {fitted}.",
        "The AUC is that of all out-of-fold probabilities of a repeat, averaged over repeats: "
        "probabilities of the models of different folds are compared as they are. The mean of the "
        "folds' own AUCs is in metrics.csv (auc_folds).",
        f"The difference from size is of the same resamples of patients; p is twice the smaller "
        f"tail beyond 0 (at least {2 / (settings.bootstraps + 1):.2g}), with Holm's correction for "
        f"the number of arms.",
        f"Thresholds of the operating points were chosen in the training part of each fold, "
        f"{thresholds}. The seed is {settings.seed}.",
    ]


def external_sentence(rows: Sequence[Row], description: StudyDescription) -> str:
    """Return what the second evaluation is; empty without one."""
    if not rows:
        return ""
    row = rows[0]
    source = description.external_source or "another source"
    return (
        f"The same out-of-fold scores, next to labels of {source} "
        f"({description.settings.external_target}): of {description.external_labels}, "
        f"{row['n']} are in the study ({row['positives']} positive, {row['negatives']} negative). "
        f"Models were fitted to the labels of the study, not to these."
        f"{' They are too few to conclude.' if _few(row) else ''}"
    )


def _rows(metrics: pd.DataFrame, population: str) -> list[Row]:
    return [
        {str(key): value for key, value in row.items()}
        for row in metrics[metrics["population"] == population].to_dict("records")
    ]


def _few(row: Row) -> bool:
    return bool(min(row["positives"], row["negatives"]) < FEW)


def _valued(row: Row, name: str, low: str, high: str) -> str:
    interval = between(row[low], row[high])
    return f"{number(row[name])}{f' (95 % interval {interval})' if interval else ''}"


def _difference(row: Row) -> str:
    interval = between(row["difference_low"], row["difference_high"])
    return f"{signed(row['difference'])}{f' (95 % interval {interval})' if interval else ''}"


def _p(row: Row) -> str:
    text = p_value(row["p_holm"])
    return text if text.startswith("<") else f"= {text}"
