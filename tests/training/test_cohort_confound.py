"""The cohort confound: planted, it is found; without it, all is quiet."""

import numpy as np
import pytest
from audit_cases import data_config, prepared

from semilung.data import AugmentConfig
from semilung.training.audits import audit_cohort_confound
from semilung.training.audits.cohort_confound import confound_finding
from semilung.training.audits.nodule_free import draw_crops
from semilung.training.audits.probe import AUC, FEATURES

SIZE, NODULE = 28, 8


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Makes patients: noise about -850 HU, and a bright nodule in a corner of labelled ones."""
    folder = tmp_path_factory.mktemp("confound")

    def make(role, noise_hu, patients, seed):
        rng = np.random.default_rng(seed)
        cases = []
        for i in range(patients):
            low, high = noise_hu
            hu = rng.normal(-850, rng.uniform(low, high), (SIZE,) * 3)
            mask = np.zeros((SIZE,) * 3)
            if role == "labelled":
                mask[:NODULE, :NODULE, :NODULE] = 1
                hu[mask > 0] = 50
            name = f"{role}_{seed}_{i}"
            mask = mask if role == "labelled" else None
            cases.append(prepared(folder, name, hu, role, mask=mask))
        return cases

    return folder, make


def audit(folder, labelled, healthy, **augment):
    config = data_config(folder)
    return audit_cohort_confound(labelled, healthy, config, AugmentConfig(**augment), seed=0)


def test_a_planted_difference_of_noise_is_found(cohort):
    folder, make = cohort
    healthy, labelled = make("healthy", (18, 22), 10, 1), make("labelled", (32, 40), 10, 2)
    found = audit(folder, labelled, healthy)
    assert found.status == "warning"
    assert found.metrics["auc_value"] > 0.95
    assert found.metrics["augmented_auc_value"] > 0.9
    assert "noise" in found.advice
    assert "10 healthy and 10 labelled patients" in found.summary


def test_augmentation_that_hides_it_ends_the_warning(cohort):
    folder, make = cohort
    healthy, labelled = make("healthy", (18, 22), 10, 1), make("labelled", (32, 40), 10, 2)
    found = audit(folder, labelled, healthy, weak_noise_hu=400.0)
    assert found.metrics["auc_value"] > 0.95
    assert found.metrics["augmented_auc_value"] < 0.75
    assert (found.status, found.advice) == ("ok", "")


def test_cohorts_that_are_alike_are_not_separated_by_their_nodules(cohort):
    folder, make = cohort
    healthy, labelled = make("healthy", (18, 40), 12, 3), make("labelled", (18, 40), 12, 4)
    found = audit(folder, labelled, healthy)
    assert found.status == "ok"
    assert 0.2 < found.metrics["auc_value"] < 0.75
    assert 0.2 < found.metrics["augmented_auc_value"] < 0.75


def test_crops_hold_lung_and_no_nodule(cohort):
    folder, make = cohort
    cases = {"labelled": make("labelled", (18, 40), 12, 4)}
    crops = draw_crops(cases, data_config(folder), AugmentConfig(), seed=0)
    assert crops.n_patients() == (0, 12)
    assert crops.features[:, FEATURES.index("hu_95")].max() < -700  # the nodule is at 50 HU


@pytest.mark.parametrize(
    ("stored", "seen", "status"),
    [
        (AUC(1.0, 0.9, 1.0), AUC(0.74, 0.6, 0.9), "ok"),
        (AUC(1.0, 0.9, 1.0), AUC(0.8, 0.45, 0.9), "ok"),
        (AUC(0.6, 0.4, 0.8), AUC(0.75, 0.51, 0.9), "warning"),
    ],
)
def test_the_warning_goes_by_what_the_net_sees(stored, seen, status):
    assert confound_finding(stored, seen, (5, 5)).status == status


def test_the_same_seed_gives_the_same_values(cohort):
    folder, make = cohort
    healthy, labelled = make("healthy", (18, 40), 12, 3), make("labelled", (18, 40), 12, 4)
    assert audit(folder, labelled, healthy) == audit(folder, labelled, healthy)


def test_many_scans_of_few_patients_give_no_result(cohort):
    folder, make = cohort
    labelled = make("labelled", (32, 40), 10, 2)
    rng = np.random.default_rng(5)
    one = [
        prepared(folder, f"one_{i}", rng.normal(-850, 20, (SIZE,) * 3), "healthy", patient="one")
        for i in range(8)
    ]
    found = audit(folder, labelled, one)
    assert found.status == "not applicable"
    assert "1 healthy and 10 labelled patients" in found.summary


def test_patients_of_both_roles_take_no_part(cohort):
    folder, make = cohort
    labelled = make("labelled", (32, 40), 10, 2)
    rng = np.random.default_rng(6)
    same = [
        prepared(folder, f"b{i}", rng.normal(-850, 20, (SIZE,) * 3), "healthy", patient=c.name)
        for i, c in enumerate(labelled)
    ]
    found = audit(folder, labelled, same)
    assert found.status == "not applicable"
    assert "no healthy cases" in found.summary


def test_without_a_healthy_stream_there_is_nothing_to_report(cohort):
    folder, make = cohort
    found = audit(folder, make("labelled", (32, 40), 10, 2), [])
    assert found.status == "not applicable"
