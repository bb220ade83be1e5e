"""What was found, in sentences that say no more than the figures do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from semilung.arm_names import NO_HEALTHY
from semilung.evaluation import relative_reduction
from semilung.report.caveats import NO_HEALTHY_SCAN
from semilung.report.compared_metrics import FIGURES, Figure, long_table, records
from semilung.report.differing_settings import silent_contenders
from semilung.report.formatting import (
    between,
    counted,
    named,
    number,
    p_value,
    signed,
    without_folders,
)
from semilung.report.study import Group, Study

SIGNIFICANT = 0.05


def best_arm(rows: Sequence[Mapping[str, Any]], figure: Figure) -> Mapping[str, Any]:
    """The row that is furthest ahead of the reference on the cases of both; of equals the first.

    Where all cases are defined, it is the best mean. Where some are not (HD95 of a silent net), a
    mean runs over the cases that an arm chose to speak of, and would flatter silence.
    """
    sign = 1 if figure.more_is_better else -1
    return max(rows, key=lambda row: sign * row["difference"] if row["n_pairs"] else 0.0)


def lead(found: pd.DataFrame, figure: Figure) -> str:
    """One sentence over several settings; empty where there is one.

    Args:
        found: What `compared` returns.
        figure: What it was compared by.
    """
    settings = [records(rows) for _, rows in found.groupby("setting", sort=False)]
    if len(settings) < 2 or len(settings[0]) < 2:
        return ""
    ahead = sum(_is_ahead(best_arm(rows, figure), figure) for rows in settings)
    times = "every setting" if ahead == len(settings) else counted(ahead, "setting")
    of = "" if ahead == len(settings) else f" of {len(settings)}"
    if not ahead:
        return f"In none of {len(settings)} settings is an arm shown to be ahead of its reference."
    return (
        f"In {times}{of}, the best arm is ahead of its reference by a paired interval of the mean "
        f"{figure.label} that leaves out zero."
    )


def _is_ahead(row: Mapping[str, Any], figure: Figure) -> bool:
    """Whether the whole paired interval is on the better side of zero; NaN never is.

    Nor is an arm that differs from the reference in other settings: what is ahead is not known.
    """
    if row["other_settings"]:
        return False
    if figure.more_is_better:
        return bool(row["difference_low"] > 0)
    return bool(row["difference_high"] < 0)


def headline(
    study: Study, found: pd.DataFrame, figure: Figure, ball: Mapping[str, float]
) -> list[str]:
    """A sentence a setting on who is ahead, and whether the data show it.

    An arm is called better only where the whole paired interval is on the better side of zero; the
    corrected p-value stands next to it, with a "but" where it disagrees.

    Args:
        study: What was compared.
        found: What `compared` returns.
        figure: What it was compared by.
        ball: Setting to the mean Dice of the content-blind ball.
    """
    told = []
    split = {"val": "validation", "test": "test"}[study.split]
    scans = "healthy scan" if figure.healthy else "case"
    silent = {group.label: silent_contenders(group.contenders) for group in study.groups}
    for name, rows in found.groupby("setting", sort=False):
        setting = str(name)
        arms = records(rows)
        cases = int((rows["n_cases"] + rows["n_undefined"]).max())
        on = f"On {counted(cases, f'{split} {scans}')}{'' if figure.healthy else ' with nodules'}"
        seeds = counted(int(rows["n_seeds"].max()), "seed")
        sentence = f"{on} and {seeds}{f', at {setting}' if setting else ''}, "
        if best_arm(arms, figure)["arm"] in silent[setting]:
            told.append(sentence + _all_silent(arms, figure))
            continue
        sentence += _ahead(arms, figure)
        if setting in ball:
            sentence += " " + _against_ball(best_arm(arms, figure), ball[setting], figure)
        told.append(sentence)
    return told


def _all_silent(rows: Sequence[Mapping[str, Any]], figure: Figure) -> str:
    best = best_arm(rows, figure)
    who = named(best["arm"])
    who = who if len(rows) == 1 else f"none of {len(rows)} arms is ahead of {who}, which"
    if figure.healthy:
        return f"{who} predicts nothing at all: not one voxel on any scan."
    value = f"{figure.label} of {number(best['mean'], figure.digits)}"
    return (
        f"{who} predicts nothing at all: not one voxel on any scan. Its {value} is that of an "
        f"empty mask."
    )


def _ahead(rows: Sequence[Mapping[str, Any]], figure: Figure) -> str:
    best, d = best_arm(rows, figure), figure.digits
    value = f"{figure.label} of {number(best['mean'], d)}"
    interval = between(best["low"], best["high"], d)
    value += f" (95 % interval {interval})" if interval else ""
    if len(rows) == 1:
        return f"{named(best['arm'])} reaches a {value}; there is no other arm to compare it with."
    reference = next(row for row in rows if row["difference"] != row["difference"])
    if best is reference:
        arm = named(best["arm"])
        return f"none of {len(rows)} arms is ahead of {arm}, which reaches a {value}."
    low, high = best["difference_low"], best["difference_high"]
    on_both = " on the cases that both define" if _undefined(best, reference) else ""
    sentence = (
        f"{named(best['arm'])} is the best of {len(rows)} arms, with a {value}: "
        f"{signed(best['difference'], d)} against {named(reference['arm'])}{on_both}. "
    )
    if not (paired := between(low, high, d)):
        return (
            f"{sentence}The cases are too few for a paired interval: no arm is shown to be better."
        )
    sentence += f"The paired interval, {paired}, "
    if best["other_settings"]:
        return (
            f"{sentence}is of two arms that also differ in {best['other_settings']}: what made the "
            f"difference is not known, and no p-value is given."
        )
    if not _is_ahead(best, figure):
        return sentence + "includes zero: no arm is shown to be better."
    side = "above" if figure.more_is_better else "below"
    link = "and" if best["p_holm"] < SIGNIFICANT else "but"
    return f"{sentence}is {side} zero, {link} {_p(best['p_holm'])} after Holm's correction."


def _undefined(*rows: Mapping[str, Any]) -> bool:
    return any(row["n_undefined"] for row in rows)


def _p(value: float) -> str:
    told = p_value(value)
    return f"p {told if told.startswith('<') else '= ' + told}".replace(" ", "\N{NO-BREAK SPACE}")


def _against_ball(best: Mapping[str, Any], ball: float, figure: Figure) -> str:
    name = f"the content-blind ball ({number(ball, figure.digits)})"
    if best["low"] > ball:
        return f"It stands above {name}, which never looks at the image."
    if best["mean"] > ball:
        return f"It is not clearly above {name}, which never looks at the image."
    return f"It does not reach {name}, which never looks at the image."


def silence(study: Study, alarms: pd.DataFrame | None, dice: pd.DataFrame | None) -> list[str]:
    """A sentence a setting on the healthy scans, of the arm that is best by Dice.

    Args:
        study: What was compared.
        alarms: What `compared` returns of `healthy_fp_mm3`; None where no healthy scan was
            evaluated, which is said then.
        dice: What it returns of `dice`; None where no case with a nodule was evaluated.
    """
    if alarms is None:
        return [NO_HEALTHY_SCAN] * len(study.groups)
    told = []
    for group in study.groups:
        rows = alarms[alarms["setting"] == group.label]
        held = [] if dice is None else records(dice[dice["setting"] == group.label])
        best = best_arm(held, FIGURES["dice"])["arm"] if held else group.reference
        means = dict(zip(rows["arm"], rows["mean"], strict=True))
        scans = counted(int(rows["n_cases"].iloc[0]), "healthy scan")
        at = f", at {group.label}" if group.label else ""
        if best in silent_contenders(group.contenders):
            told.append(
                f"On {scans}{at}, {named(best)} marks nothing either, so its silence there shows "
                f"nothing."
            )
            continue
        sentence = f"On {scans}{at}, {named(best)} marks {_mm3(means[best])} a scan"
        sentence += _taken_off(group, best)
        if group.reference != best:
            sentence += f"; {named(group.reference)} marks {_mm3(means[group.reference])}"
        told.append(f"{sentence}.")
    return told


def _mm3(volume: float) -> str:
    return f"{number(volume, FIGURES['healthy_fp_mm3'].digits)}\N{NO-BREAK SPACE}mm³"


def _taken_off(group: Group, best: str) -> str:
    """How much of the false positives of training without healthy scans is gone."""
    if NO_HEALTHY not in group.contenders or best == NO_HEALTHY:
        return ""
    figure = FIGURES["healthy_fp_mm3"]
    cases = long_table(group, figure)
    found = relative_reduction(cases, metric=figure.column, reference=NO_HEALTHY)
    row = next(row for row in records(found) if row["arm"] == best)
    interval = between(100 * row["low"], 100 * row["high"], 1)
    if not interval:  # training without them marks nothing, or the scans are too few
        return ""
    percent = number(100 * row["reduction"], 1)
    return f", {percent} % less (95 % interval {interval}) than training without healthy scans"


def commands(study: Study) -> list[str]:
    """How the runs were made, one command a line; folders of the machine are left out."""
    lines = []
    for run in study.runs:
        program, *rest = map(str, without_folders(run.provenance.get("command") or [""]))
        lines.append(" ".join([program, *map(_quoted, rest)]))
    return [line for line in dict.fromkeys(lines) if line]


def _quoted(word: str) -> str:
    """A word of a command, in quotes where a shell would take it apart."""
    return f"'{word}'" if any(c in word for c in " []{}()*?;&|<>$") else word
