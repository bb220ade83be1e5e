"""Nested cross-validation: what is found, and that nothing leaks."""

import numpy as np
import pandas as pd
import pytest
from nodule_tables import made_study

from semilung.characterization import (
    CharacterizationSettings,
    collect,
    concordance,
    cross_validate,
    fold_table,
    make_folds,
    nested_cv,
)
from semilung.characterization.feature_models import ChosenModel
from semilung.characterization.selected_features import feature_shares
from semilung.types import UserError

SETTINGS = CharacterizationSettings(folds=3, inner_folds=2, repeats=2, models=("logistic",))


def run(study, settings=SETTINGS, **options):
    """Results of all folds, and the AUC of each arm."""
    results = [*cross_validate(study, make_folds(study.nodules, settings), settings, **options)]
    oof = collect(study.nodules, results)
    return results, {
        arm: float(concordance(scores, oof.positive).mean()) for arm, scores in oof.scores.items()
    }


def net_scores(study, folds, signal):
    """Evidence of a net with `signal` standard deviations between the classes."""
    table = fold_table(study.nodules, folds)
    table = table[table["part"] != "train"]
    evidence = np.random.default_rng(3).normal(signal * table["label"])
    index = ["repeat", "fold", "case", "nodule"]
    return table.assign(evidence=evidence).set_index(index)[["evidence"]]


def test_a_planted_feature_beats_size_and_is_selected(tmp_path):
    results, aucs = run(made_study(tmp_path, signal=2.5))
    assert aucs["radiomics logistic"] > max(0.9, aucs["size"] + 0.1)
    features = feature_shares([table for result in results for table in result.features], 6)
    assert features.iloc[0]["feature"] == "planted"
    assert features.iloc[0]["share"] == 1
    assert features.iloc[0]["coefficient"] > 0


def test_selection_among_500_features_of_noise_is_at_chance(tmp_path):
    """A low limit of redundancy keeps the few features that say most of the labels."""
    strict = CharacterizationSettings(folds=3, inner_folds=2, repeats=1, redundancy=0.2)
    studies = [made_study(tmp_path, signal=0, noise=500, seed=seed) for seed in (0, 1)]
    aucs = pd.DataFrame([run(study, strict)[1] for study in studies]).mean()
    assert aucs["radiomics logistic"] == pytest.approx(0.5, abs=0.13)
    assert aucs["radiomics boosting"] == pytest.approx(0.5, abs=0.13)


def test_size_ranks_nodules_of_a_fold_by_their_diameter(tmp_path):
    study = made_study(tmp_path)
    for result in run(study)[0]:
        diameters = study.nodules["diameter_mm"].to_numpy()[result.fold.outer]
        assert (np.argsort(result.arms["size"].outer) == np.argsort(diameters)).all()


def test_models_and_thresholds_do_not_read_the_tested_nodules(tmp_path):
    study = made_study(tmp_path)
    (fold, *_) = make_folds(study.nodules, SETTINGS)
    tested = study.nodules.index.isin(fold.outer)
    nodules = study.nodules.assign(
        label=study.nodules["label"].where(~tested, 1 - study.nodules["label"]),
    )
    features = study.features.mask(np.broadcast_to(tested[:, None], study.features.shape), 1e6)
    other = type(study)(nodules, features, "", 0)
    (a,), (b,) = (cross_validate(s, [fold], SETTINGS) for s in (study, other))
    for arm, scores in a.arms.items():
        np.testing.assert_array_equal(scores.reference, b.arms[arm].reference)
    pd.testing.assert_frame_equal(a.features[0], b.features[0])


def test_models_of_a_study_with_nets_are_fitted_without_the_inner_part(tmp_path):
    study = made_study(tmp_path)
    (fold, *_) = folds = make_folds(study.nodules, SETTINGS)
    evidence = {"net": net_scores(study, folds, 1)}
    held_out = study.nodules.index.isin(fold.inner)
    features = study.features.mask(np.broadcast_to(held_out[:, None], study.features.shape), 1e6)
    other = type(study)(study.nodules, features, "", 0)
    (a,), (b,) = (cross_validate(s, [fold], SETTINGS, evidence=evidence) for s in (study, other))
    pd.testing.assert_frame_equal(a.features[0], b.features[0])
    assert [*a.arms] == ["size", "radiomics logistic", "net", "fusion net"]
    np.testing.assert_array_equal(a.arms["net"].labels, study.nodules["label"].iloc[fold.inner])
    (without,) = cross_validate(other, [fold], SETTINGS)
    assert len(without.arms["size"].labels) == len(fold.inner) + len(fold.train)


@pytest.mark.parametrize(("signal", "gain"), [(3, 0.03), (0, -0.1)])
def test_fusion_takes_a_net_that_says_something_and_survives_one_that_does_not(
    tmp_path, signal, gain
):
    study = made_study(tmp_path, nodules=120)
    evidence = {"net": net_scores(study, make_folds(study.nodules, SETTINGS), signal)}
    _, aucs = run(study, evidence=evidence)
    assert aucs["fusion net"] > aucs["radiomics logistic"] + gain


def test_fusion_joins_the_radiomics_model_of_the_lowest_inner_loss(tmp_path, monkeypatch):
    study = made_study(tmp_path)
    settings = CharacterizationSettings(folds=3, inner_folds=2, repeats=1)
    folds = make_folds(study.nodules, settings)[:1]
    chosen, choose = [], nested_cv.choose_model
    monkeypatch.setattr(
        nested_cv, "choose_model", lambda *args: chosen.append(choose(*args)) or chosen[-1]
    )
    probability, used = ChosenModel.probability, []
    monkeypatch.setattr(
        ChosenModel,
        "probability",
        lambda model, x: used.append((model, len(x))) or probability(model, x),
    )
    [*cross_validate(study, folds, settings, evidence={"net": net_scores(study, folds, 1)})]
    best = min(chosen[1:], key=lambda model: model.loss)
    assert [model for model, rows in used if rows == len(study.nodules)] == [best]


def test_results_are_the_same_again(tmp_path):
    study = made_study(tmp_path)
    settings = CharacterizationSettings(folds=3, inner_folds=2, repeats=1)
    assert run(study, settings)[1] == run(study, settings)[1]


def test_too_few_patients_for_the_inner_folds_are_refused(tmp_path):
    study = made_study(tmp_path, nodules=20)
    settings = CharacterizationSettings(folds=2, inner_folds=9, repeats=1)
    with pytest.raises(UserError, match="9 inner folds need as many patients of each class"):
        run(study, settings)
