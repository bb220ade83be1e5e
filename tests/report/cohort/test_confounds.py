"""Comparison of healthy patients with those who have nodules."""

import numpy as np
import pytest
from surveys import survey

from semilung.data.io.dicom.scanner_tags import ScannerTags
from semilung.data.manifest.check_manifest import ManifestCheck
from semilung.report.cohort.cohort_findings import Finding, list_findings, verdict
from semilung.report.cohort.confounds import Confounds, compare_sides
from semilung.training.audits.probe import AUC, FEATURES


def side(role, count, *, shift, **changes):
    rng = np.random.default_rng(count + (role == "healthy"))
    return [
        survey(
            f"{role}_{i}",
            role,
            features=rng.normal(shift, 1, (3, len(FEATURES))),
            **changes,
        )
        for i in range(count)
    ]


def test_compare_sides_separable_scanners_are_separated():
    labelled = side("labelled", 60, shift=0.0)
    apart = compare_sides([*side("healthy", 20, shift=4.0), *labelled])
    alike = compare_sides([*side("healthy", 40, shift=0.0), *labelled])
    assert (apart.healthy, apart.nodules) == (20, 60)
    assert (apart.decision, alike.decision) == ("separable", "inseparable")


AREAS = [
    (AUC(0.97, 0.90, 0.99), "separable", "look"),
    (AUC(0.88, 0.48, 0.98), "perhaps", "look"),
    (AUC(0.62, 0.28, 0.87), "unclear", "unknown"),
    (AUC(0.60, 0.50, 0.70), "inseparable", "ok"),
    (None, "unclear", "unknown"),
]


@pytest.mark.parametrize(("auc", "decision", "status"), AREAS)
def test_confounds_are_decided_by_area_and_interval(auc, decision, status):
    confounds = Confounds(9, 9, auc, (), ())
    findings = list_findings(ManifestCheck([], [], []), [], {}, confounds)
    assert confounds.decision == decision
    assert findings[-1].section == "confounds"
    assert findings[-1].status == status
    assert confounds.explanation.endswith(".")


def test_compare_sides_a_different_spacing_separates_surely():
    thick = side("healthy", 12, shift=0.0, spacing_mm=(0.8, 0.8, 3.0))
    confounds = compare_sides([*thick, *side("labelled", 12, shift=0.0)])
    areas = {one.name: one.auc.value for one in confounds.separations}
    assert areas["distance of slices (mm)"] == 1.0
    assert areas["pixel (mm)"] == 0.5


def test_compare_sides_without_a_side_is_unclear_and_not_an_error():
    for surveys in ([], side("healthy", 5, shift=0.0), side("unlabelled", 5, shift=0.0)):
        confounds = compare_sides(surveys)
        assert confounds.probe is None
        assert confounds.decision == "unclear"


def test_compare_sides_patients_of_both_sides_and_unknown_scans_take_no_part():
    surveys = [
        survey("a", "healthy", patient="p"),
        survey("b", "labelled", patient="p"),
        survey("c", "healthy", is_hu=False),
        survey("d", "unlabelled"),
        survey("e", "labelled", patient="q"),
        survey("f", "labelled", patient="q"),
    ]
    confounds = compare_sides(surveys)
    assert (confounds.healthy, confounds.nodules) == (0, 1)


def test_compare_sides_kernels_of_one_side_only_are_named():
    sharp, smooth = ({"scanner": ScannerTags("GE", kernel)} for kernel in ("LUNG", "B30f"))
    surveys = [
        *side("healthy", 3, shift=0.0, **smooth),
        *side("labelled", 3, shift=0.0, **sharp),
    ]
    sentences = compare_sides(surveys).exclusive
    assert sentences == [
        "kernel only in healthy scans: B30f",
        "kernel only in scans with nodules: LUNG",
    ]


@pytest.mark.parametrize(
    ("statuses", "start"),
    [
        (["ok", "unknown"], "Usable: no errors"),
        (["ok", "look"], "Usable, after a look at 1 finding"),
        (["fix", "look"], "Not usable yet: 1 finding below must be fixed, and 1"),
        (["fix"], "Not usable yet: 1 finding below must be fixed."),
    ],
)
def test_verdict_follows_the_worst_finding(statuses, start):
    assert verdict([Finding(status, "text", "check") for status in statuses]).startswith(start)
