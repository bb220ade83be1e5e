"""The page of a study: honest sentences, escaped names, one file."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from nodule_tables import made_study

from semilung.characterization import CharacterizationSettings, cross_validate, make_folds
from semilung.characterization.study_tables import StudyTables
from semilung.report.characterization_page import (
    StudyDescription,
    characterization_page,
    headline,
    method,
    size_sentences,
    source_sentence,
)

SETTINGS = CharacterizationSettings(
    folds=3, inner_folds=2, repeats=1, models=("logistic",), bootstraps=100
)
DESCRIPTION = StudyDescription(SETTINGS, "readers", 7, 7, 3, ["a<b>"], "pathology", 9)


@pytest.fixture
def study(tmp_path):
    made = made_study(tmp_path)
    folds = make_folds(made.nodules, SETTINGS)
    table = made.nodules.assign(repeat=0)[["repeat", "case", "nodule"]]
    rng = np.random.default_rng(0)
    evidence = pd.concat(
        table.assign(fold=fold, evidence=rng.normal(size=len(table))) for fold in range(3)
    ).set_index(["repeat", "fold", "case", "nodule"])
    external = made.nodules.iloc[:6][["case", "nodule", "label"]]
    results = [*cross_validate(made, folds, SETTINGS, evidence={"a<b>": evidence})]
    return StudyTables.of(made, results, SETTINGS, external)


def test_page_is_one_file_with_escaped_names_and_what_was_studied(study):
    page = characterization_page(study, DESCRIPTION)
    assert "a&lt;b&gt;" in page
    assert "<b>" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "votes of readers (source: readers), not pathology" in page
    assert "7 nodules of neither class were left out" in page
    assert "next to labels of pathology (malignant): of 9, 6 are in the study (3 positive" in page
    assert "too few to conclude" in page
    assert "stability (3 of 7 features" in page
    assert page.count("data:image/svg+xml") == 4


def row(arm, auc, low=0.0, p=1.0):
    return {"arm": arm, "auc": auc, "low": auc - 0.1, "high": auc + 0.1, "difference": auc - 0.8,
            "difference_low": low, "difference_high": 0.2, "p_holm": p}  # fmt: skip


@pytest.mark.parametrize(
    ("best", "end"),
    [
        (row("net", 0.9, low=0.05, p=0.01), "p = 0.010)."),
        (row("net", 0.9, low=0.01, p=0.08), "p = 0.080). No arm is shown to say more than size."),
        (row("net", 0.9, low=-0.01, p=0.04), "No arm is shown to say more than size."),
        (row("net", 0.7, low=-0.2), "No arm is shown to say more than size."),
        (row("net", 0.9, low=np.nan), "No arm is shown to say more than size."),
    ],
)
def test_headline_claims_more_than_size_with_interval_and_p_alone(best, end):
    text = headline([row("size", 0.8), best, row("other", 0.6)])
    assert text.endswith(end)
    assert ("Shown to say more than size" in text) != ("No arm is shown" in text)


@pytest.mark.parametrize(
    ("nets", "present", "absent"),
    [
        ([], "and thresholds are of the whole training part", "on which the nets were trained"),
        (["net"], "One more fold of patients serves to calibrate", "thresholds are of the part"),
    ],
)
def test_method_says_of_which_part_thresholds_are(nets, present, absent):
    text = " ".join(method(replace(DESCRIPTION, nets=nets)))
    assert present in text
    assert absent not in text
    assert ("somewhat optimistic" in text) == bool(nets)


@pytest.mark.parametrize("low", [-0.01, 0.01])
def test_headline_names_an_arm_that_says_more_than_size_though_another_has_the_highest_auc(low):
    rows = [row("size", 0.8), row("net", 0.9, low=low, p=0.2), row("both", 0.88, low=0.02, p=0.01)]
    start, _, end = headline(rows).partition("Shown to say more than size here")
    assert "is net with" in start
    assert "both (" in end
    assert "net (" not in end


def test_sentence_of_a_bin_without_a_class_defines_no_auc(study):
    empty = study.metrics.assign(positives=0)
    assert all("no AUC is defined" in text for text in size_sentences(empty))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("readers", "votes of readers (source: readers), not pathology"),
        ("", "does not say"),
        ("Pathology", "readers' votes are not among them"),
        ("histology 2024", "readers' votes are not among them"),
        ("radiologist consensus", "If these are readers' votes, they are not pathology."),
        ("follow-up", "“follow-up”. If these are readers' votes, they are not pathology."),
    ],
)
def test_sentence_of_sources_claims_pathology_only_where_the_source_says_so(source, words):
    assert words in source_sentence(source)
