"""Scores of nets: rows that match the folds, and those that do not."""

import numpy as np
import pandas as pd
import pytest
from nodule_tables import made_study

from semilung.characterization import CharacterizationSettings, fold_table, make_folds, read_scores
from semilung.types import UserError


@pytest.fixture
def folds(tmp_path):
    nodules = made_study(tmp_path).nodules
    return fold_table(nodules, make_folds(nodules, CharacterizationSettings(folds=3, repeats=2)))


@pytest.fixture
def scores(folds):
    table = folds[folds["part"] != "train"].drop(columns=["patient", "label"])
    return table.assign(score=np.linspace(0, 1, len(table)))


def read(tmp_path, table, folds):
    path = tmp_path / "net.csv"
    table.to_csv(path, index=False)
    return read_scores(path, folds)["evidence"]


def test_scores_between_0_and_1_become_log_odds_and_others_stay(tmp_path, scores, folds):
    evidence = read(tmp_path, scores, folds)
    assert evidence.iloc[len(scores) // 2 - 1 : len(scores) // 2 + 1].abs().max() < 0.1
    assert evidence.iloc[0] == pytest.approx(np.log(1e-6), abs=1e-3)
    logits = scores.assign(score=np.linspace(-5, 9, len(scores)))
    assert read(tmp_path, logits.iloc[::-1], folds).iloc[0] == 9


def test_scores_of_nodules_that_are_not_studied_are_ignored_with_a_warning(tmp_path, scores, folds):
    other = scores.iloc[:1].assign(case="elsewhere")
    with pytest.warns(UserWarning, match="1 scores are of nodules that are not studied"):
        evidence = read(tmp_path, pd.concat([scores, other]), folds)
    assert len(evidence) == len(scores)


def in_wrong_part(scores):
    return scores.assign(part=np.where(scores["part"] == "inner", "outer", "inner"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.iloc[1:], r"lacks the score of nodule 1 of c\d+ in repeat 0, fold 0, part"),
        (in_wrong_part, r"\(patient p\d+\) is scored as .* and is in the part .* of the folds"),
        (lambda s: s.assign(repeat=s["repeat"] + 1), "repeat 2, fold 0, and there is no such fold"),
        (lambda s: pd.concat([s, s.iloc[:1]]), "twice; keep one row"),
        (lambda s: s.assign(score="high"), "column 'score' holds 'high', which is no number"),
        (lambda s: s.assign(score=np.inf), "column 'score' holds 'inf', which is no number"),
        (lambda s: s.drop(columns="part"), "is without the columns part"),
    ],
)
def test_scores_that_do_not_match_the_folds_are_refused(tmp_path, scores, folds, change, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, change(scores), folds)


def test_scores_of_a_patient_on_whom_the_net_was_trained_are_refused(tmp_path, scores, folds):
    train = folds[(folds["fold"] == 1) & (folds["part"] == "train")].iloc[:1]
    row = train.drop(columns=["patient", "label"]).assign(part="outer", score=0.5)
    with pytest.raises(UserError, match=r"scored as 'outer' and is in the part 'train'"):
        read(tmp_path, pd.concat([scores, row]), folds)
