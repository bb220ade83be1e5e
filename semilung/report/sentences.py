"""Sentences on the results: the best arm, false positives on healthy scans, and commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from semilung.arm_names import NO_HEALTHY
from semilung.evaluation import Metric, relative_reduction
from semilung.evaluation.metrics import members
from semilung.report.caveats import NO_HEALTHY_SCAN
from semilung.report.compared_metrics import long_table, records
from semilung.report.formatting import (
    amount,
    between,
    counted,
    false_positives,
    number,
    p_value,
    quoted,
    signed,
    valued,
    without_folders,
)
from semilung.report.study import Group, Study
from semilung.tasks import Baseline

SIGNIFICANT = 0.05


def best_arm(rows: Sequence[Mapping[str, Any]], metric: Metric) -> Mapping[str, Any]:
    """Return the row with the best paired difference from the reference; of equals the reference.

    If every case is defined in every arm, it has the best mean. Otherwise (such as HD95 of empty
    predictions) means run over different cases, which would favour arms that miss the difficult
    ones.
    """
    sign = 1 if metric.more_is_better else -1

    def gain(row: Mapping[str, Any]) -> tuple[float, bool]:
        return sign * row["difference"] if row["n_pairs"] else 0.0, not row["n_pairs"]

    return max(rows, key=gain)


def lead(comparison: pd.DataFrame, metric: Metric) -> str:
    """Return one sentence over several settings; empty if there is only one.

    Args:
        comparison: As returned by `comparison_table`.
        metric: Metric of the comparison.
    """
    settings = [records(rows) for _, rows in comparison.groupby("setting", sort=False)]
    if len(settings) < 2 or len(settings[0]) < 2:
        return ""
    better = sum(_is_better(best_arm(rows, metric), metric) for rows in settings)
    if not better:
        return (
            f"In none of {len(settings)} settings is an arm shown to be better than its reference."
        )
    return (
        f"In {better} of {len(settings)} settings, the best arm is better than its reference: the "
        f"95 % interval of its paired difference in mean {metric.label} excludes zero."
    )


def _is_better(row: Mapping[str, Any], metric: Metric) -> bool:
    """Return whether the interval of the paired difference is entirely on the better side of zero.

    False for an undefined interval, and for an arm that also differs in other settings.
    """
    if row["other_settings"]:
        return False
    if metric.more_is_better:
        return bool(row["difference_low"] > 0)
    return bool(row["difference_high"] < 0)


def headline(
    study: Study,
    comparison: pd.DataFrame,
    metric: Metric,
    baseline_means: Mapping[str, float],
    baseline: Baseline | None = None,
) -> list[str]:
    """Return a statement per setting on the best arm and the evidence for it.

    An arm is called better only if the interval of the paired difference is entirely on the better
    side of zero. The adjusted p-value follows, introduced by "but" if it is not significant.

    Args:
        study: Runs of the comparison.
        comparison: As returned by `comparison_table`.
        metric: Metric of the comparison.
        baseline_means: Setting to the mean of a baseline that does not use the image.
        baseline: What it is.
    """
    statements = []
    split = {"val": "validation", "test": "test"}[study.split]
    silent = {group.label: study.silent(group, metric) for group in study.groups}
    for name, rows in comparison.groupby("setting", sort=False):
        setting = str(name)
        arms = records(rows)
        count = int((rows["n_cases"] + rows["n_undefined"]).max())
        scans = _population(metric, count, split)
        seeds = counted(int(rows["n_seeds"].max()), "seed")
        statement = f"On {scans} and {seeds}{f' ({setting})' if setting else ''}, "
        if best_arm(arms, metric)["arm"] in silent[setting]:
            statements.append(statement + _silent_statement(arms, metric))
            continue
        statement += _best_statement(arms, metric)
        if baseline is not None and setting in baseline_means:
            statement += " " + _baseline_statement(
                best_arm(arms, metric), baseline_means[setting], metric, baseline.name
            )
        statements.append(statement)
    return statements


def _population(metric: Metric, count: int, split: str) -> str:
    if metric.population == "positive":
        return f"{counted(count, f'{split} case')} with nodules"
    if metric.population == "lesions":
        return f"{counted(count, 'nodule')} in {split} scans"
    return counted(count, f"{'healthy ' if metric.healthy else ''}{split} scan")


def _silent_statement(rows: Sequence[Mapping[str, Any]], metric: Metric) -> str:
    best = best_arm(rows, metric)
    name = quoted(best["arm"])
    arm = name if len(rows) == 1 else f"none of {len(rows)} arms is better than {name}, which"
    if metric.healthy:
        return f"{arm} predicts no foreground voxel on any scan."
    return (
        f"{arm} predicts no foreground voxel on any scan. Its {metric.label} of "
        f"{number(best['mean'], metric.digits)} is that of an empty mask."
    )


def _best_statement(rows: Sequence[Mapping[str, Any]], metric: Metric) -> str:
    best, d = best_arm(rows, metric), metric.digits
    value = valued(metric, best["mean"])
    interval = between(best["low"], best["high"], d)
    value += f", 95 % interval {interval}" if interval else ""
    name = quoted(best["arm"])
    if len(rows) == 1:
        return f"only {name} was evaluated ({value}), so there is no comparison."
    reference = next(row for row in rows if row["difference"] != row["difference"])
    if best is reference:
        return f"none of {len(rows)} arms is better than {name} ({value})."
    on_both = ", on the cases that both define," if _undefined(best, reference) else ""
    statement = (
        f"{name} is the best of {len(rows)} arms ({value}). Its paired difference from "
        f"{quoted(reference['arm'])}{on_both} is {signed(best['difference'], d)}"
    )
    paired = between(best["difference_low"], best["difference_high"], d)
    if not paired:
        return (
            f"{statement}. There are too few cases for an interval of the difference, so no arm is "
            f"shown to be better."
        )
    statement += f" (95 % interval {paired})"
    if best["other_settings"]:
        return (
            f"{statement}. The two arms also differ in {best['other_settings']}, so the difference "
            f"cannot be attributed to the strategy and no p-value is given."
        )
    if not _is_better(best, metric):
        return f"{statement}. The interval includes zero, so no arm is shown to be better."
    link = "and" if best["p_holm"] < SIGNIFICANT else "but"
    return (
        f"{statement}. The interval excludes zero, {link} {_p(best['p_holm'])} after Holm's "
        f"correction."
    )


def _undefined(*rows: Mapping[str, Any]) -> bool:
    return any(row["n_undefined"] for row in rows)


def _p(value: float) -> str:
    text = p_value(value)
    return f"p {text if text.startswith('<') else '= ' + text}".replace(" ", "\N{NO-BREAK SPACE}")


def _baseline_statement(
    best: Mapping[str, Any], value: float, metric: Metric, baseline: str
) -> str:
    name = f"the {baseline} ({number(value, metric.digits)}), which does not use the image"
    worst = min(metric.gain(best["low"]), metric.gain(best["high"]))
    if worst > metric.gain(value):
        return f"It exceeds {name}."
    if metric.gain(best["mean"]) > metric.gain(value):
        return f"Its interval includes {name}."
    return f"It does not exceed {name}."


def healthy_statements(study: Study, comparisons: Mapping[Metric, pd.DataFrame]) -> list[str]:
    """Return a statement per setting on healthy scans, for the arm with the best score.

    Empty texts if no task has false positives on healthy scans.

    Args:
        study: Runs of the comparison.
        comparisons: `comparison_table` by each defined metric.
    """
    metric, score = study.false_positives, study.score
    if metric is None:
        return [""] * len(study.groups)
    healthy, by_score = comparisons.get(metric), comparisons.get(score)
    if healthy is None:
        count = max(len(members(run.cases, "healthy")) for run in study.runs)
        undefined = (
            f"On {counted(count, 'healthy scan')}, {metric.label[0].lower()}{metric.label[1:]} are "
            f"undefined in at least one run."
        )
        return [undefined if count else NO_HEALTHY_SCAN] * len(study.groups)
    statements = []
    for group in study.groups:
        rows = healthy[healthy["setting"] == group.label]
        arms = [] if by_score is None else records(by_score[by_score["setting"] == group.label])
        best = best_arm(arms, score)["arm"] if arms else group.reference
        means = dict(zip(rows["arm"], rows["mean"], strict=True))
        scans = counted(int(rows["n_cases"].iloc[0]), "healthy scan")
        setting = f" ({group.label})" if group.label else ""
        if best in study.silent(group, metric):
            statements.append(
                f"On {scans}{setting}, {quoted(best)} has no false positives, which is not "
                f"informative for an arm without any prediction."
            )
            continue
        statement = (
            f"On {scans}{setting}, {quoted(best)} has {false_positives(metric, means[best])} per "
            f"scan{_reduction(group, best, metric)}"
        )
        if group.reference != best:
            reference = amount(metric, means[group.reference])
            statement += f"; {quoted(group.reference)} has {reference}"
        statements.append(f"{statement}.")
    return statements


def _reduction(group: Group, best: str, metric: Metric) -> str:
    """Return the reduction of false positives relative to training without healthy scans."""
    if NO_HEALTHY not in group.contenders or best == NO_HEALTHY:
        return ""
    table = relative_reduction(
        long_table(group, metric), metric=metric.column, reference=NO_HEALTHY
    )
    row = next(row for row in records(table) if row["arm"] == best)
    interval = between(100 * row["low"], 100 * row["high"], 1)
    if not interval:  # the reference has no false positives, or there are too few scans
        return ""
    percent = number(100 * row["reduction"], 1)
    return f", {percent} % less (95 % interval {interval}) than training without healthy scans"


def commands(study: Study) -> list[str]:
    """Return the distinct training commands, without absolute folders."""
    lines = []
    for run in study.runs:
        program, *rest = map(str, without_folders(run.provenance.get("command") or [""]))
        lines.append(" ".join([program, *map(_quoted, rest)]))
    return [line for line in dict.fromkeys(lines) if line]


def _quoted(word: str) -> str:
    """Return a word of a command, in quotes if it contains special characters of a shell."""
    return f"'{word}'" if any(c in word for c in " []{}()*?;&|<>$") else word
