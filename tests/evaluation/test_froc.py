"""FROC by the rules of LUNA16: the challenge's own values, a case by hand per rule, an oracle."""

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from finding_rows import NODULE, counted, findings, froc, marks
from hypothesis import given, settings
from hypothesis import strategies as st

from semilung.evaluation import luna16_froc

RATES = (0.125, 0.25, 0.5, 1, 2, 4, 8)


def test_luna16_froc_on_150_scans_gives_the_values_of_the_challenge(real_data):
    folder = real_data / "luna16_froc"
    expected = json.loads((folder / "expected.json").read_text())
    names = ("detections", "annotations", "annotations_excluded")
    tables = [pd.read_csv(folder / f"{name}.csv") for name in names]
    scans = (folder / "seriesuids.csv").read_text().split()
    result = luna16_froc(*tables, scans)
    rounded = {f"count {name}": round(value, 9) for name, value in result.counts.items()}
    assert rounded == {key: value for key, value in expected.items() if key.startswith("count ")}
    np.testing.assert_allclose(result.fp_per_scan, expected["fp_per_scan"])
    np.testing.assert_allclose(result.sensitivity, expected["sensitivity"], atol=1e-9)
    assert result.cpm == pytest.approx(expected["cpm"], abs=1e-9)
    np.testing.assert_allclose(result.low, expected["bootstrap_low"], atol=0.03)
    np.testing.assert_allclose(result.high, expected["bootstrap_high"], atol=0.03)
    shuffled = luna16_froc(*(table.sample(frac=1, random_state=1) for table in tables), scans)
    pd.testing.assert_frame_equal(shuffled.table(), result.table())


def test_luna16_froc_of_a_small_problem_gives_the_curve_by_hand():
    # 4 scans, 4 nodules; in falling probability hit, FP, hit, FP + hit (tied), FP. Points at
    # (0, 0), (0, 1/4), (1/4, 1/4), (1/4, 2/4), (2/4, 3/4), (3/4, 3/4): CPM of 1/4, 1/2, 3/4 x 5.
    nodules = findings(("a", 0, 0, 0, 6), ("a", 50, 0, 0, 6), ("b", 0, 0, 0, 6), ("d", 0, 0, 0, 6))
    detections = marks(
        ("a", 0, 0, 1, 0.9),
        ("b", 90, 0, 0, 0.8),
        ("a", 50, 1, 0, 0.7),
        ("c", 0, 0, 0, 0.6),
        ("b", 0, 0, 0, 0.6),
        ("c", 9, 9, 9, 0.5),
    )
    result = froc(detections, nodules, scans=["a", "b", "c", "d"])
    np.testing.assert_allclose(result.sensitivity, [1 / 4, 1 / 2, *[3 / 4] * 5])
    assert result.cpm == pytest.approx((1 / 4 + 1 / 2 + 5 * 3 / 4) / 7)
    assert counted(result) == (3, 3, 1, 0, 0)
    assert result.counts["Average number of candidates per scan"] == 6 / 4


def test_luna16_froc_between_points_is_linear_and_starts_at_zero():
    # one scan, all marks tied: the curve is the line from (0, 0) to (4, 1)
    result = froc(
        marks(("a", 0, 0, 0, 0.5), *(("a", 90, 0, i, 0.5) for i in range(4))), findings(NODULE),
        scans=["a"],
    )  # fmt: skip
    np.testing.assert_allclose(result.sensitivity, np.minimum(np.array(RATES) / 4, 1))


def test_luna16_froc_missed_nodules_and_scans_without_marks_are_in_the_denominators():
    nodules = findings(NODULE, ("a", 50, 0, 0, 6), ("c", 0, 0, 0, 6), ("d", 0, 0, 0, 6))
    detections = marks(("a", 90, 0, 0, 0.9), ("a", 0, 0, 0, 0.5))
    result = froc(detections, nodules, scans=["a", "b", "c", "d"])
    # 1 of 4 nodules at 1 false positive in 4 scans, none before
    np.testing.assert_allclose(result.sensitivity, [0, *[1 / 4] * 6])
    assert counted(result) == (1, 1, 3, 0, 0)


def test_luna16_froc_integer_probabilities_and_any_order_give_the_same():
    rows = [("a", 0, 0, 0, 3), ("b", 0, 0, 0, 2), ("b", 5, 0, 0, 1), ("a", 9, 9, 9, 2)]
    nodules = findings(NODULE, ("b", 0, 0, 0, 6))
    expected = froc(marks(*rows), nodules, bootstrap=50)
    for table in (marks(*reversed(rows)), marks(*rows).astype({"probability": np.float32})):
        pd.testing.assert_frame_equal(froc(table, nodules, bootstrap=50).table(), expected.table())


@pytest.mark.parametrize("none", [marks(), pd.DataFrame()])
def test_luna16_froc_without_detections_has_sensitivity_0(none):
    result = froc(none, findings(NODULE), bootstrap=20)
    assert result.sensitivity.tolist() == [0] * 7
    assert result.cpm == result.cpm_low == result.cpm_high == 0
    assert counted(result) == (0, 0, 1, 0, 0)


def test_luna16_froc_with_false_positives_alone_has_sensitivity_0():
    assert froc(marks(("b", 0, 0, 0, 0.5)), findings(NODULE)).cpm == 0


@pytest.mark.parametrize("none", [findings(), pd.DataFrame()])
def test_luna16_froc_without_nodules_has_no_sensitivity_but_false_positives(none):
    result = froc(marks(("a", 0, 0, 0, 0.5)), none, none, bootstrap=20)
    assert np.isnan([*result.sensitivity, *result.low, *result.high]).all()
    assert np.isnan([result.cpm, result.cpm_low, result.cpm_high]).all()
    assert np.isnan(result.counts["Sensitivity"])
    assert counted(result) == (0, 1, 0, 0, 0)


def test_luna16_froc_without_false_positives_is_flat():
    result = froc(marks(("a", 0, 0, 0, 0.5)), findings(NODULE, ("b", 0, 0, 0, 6)))
    assert result.sensitivity.tolist() == [0.5] * 7


def test_luna16_froc_bootstrap_is_over_scans_without_samples_that_have_no_nodule():
    # Of 2 scans one has both nodules, detected, without false positives: each sample that holds
    # nodules has sensitivity 1, where resampled nodules would not be tied to their scan.
    detections = marks(("a", 0, 0, 0, 0.5), ("b", 0, 0, 0, 0.1))
    nodules = findings(NODULE, ("a", 2, 0, 0, 6))
    result = froc(detections, nodules, bootstrap=200)
    assert result.low.tolist() == result.high.tolist() == [1.0] * 7
    # Nodules of two scans, one detected, without false positives: samples 0, 1/2 and 1.
    result = froc(marks(("a", 0, 0, 0, 0.5)), findings(NODULE, ("b", 0, 0, 0, 6)), bootstrap=200)
    assert (result.low.tolist(), result.high.tolist()) == ([0.0] * 7, [1.0] * 7)
    assert np.isnan(froc(marks(), findings(NODULE), bootstrap=0).low).all()


def test_luna16_froc_bootstrap_has_the_rates_of_each_sample():
    # The hit comes after two false positives of its scan, one of four: 1/2 a scan. A sample that
    # holds the scan twice has four before it, 1 a scan, and sensitivity 0 at 1/2.
    detections = marks(("a", 90, 0, 0, 0.9), ("a", 91, 0, 0, 0.8), ("a", 0, 0, 0, 0.5))
    result = froc(detections, findings(NODULE), scans=list("abcd"), bootstrap=2000)
    at_half = dict(zip(RATES, zip(result.low, result.high, strict=True), strict=True))[0.5]
    assert result.sensitivity[2] == 1
    assert at_half == (0.0, 1.0)


def test_luna16_froc_depends_on_the_seed_alone():
    rng = np.random.default_rng(0)
    detections = marks(*((str(s), *rng.integers(0, 9, 3), rng.random()) for s in range(9)))
    nodules = findings(*((str(s), 4, 4, 4, 8) for s in range(9)))
    scans = [str(s) for s in range(9)]
    one, again, other = (
        froc(detections, nodules, scans=scans, bootstrap=20, seed=seed) for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one.table(), again.table())
    assert not one.table().equals(other.table())
    with pytest.raises(FrozenInstanceError):
        one.cpm = 1.0


def test_luna16_froc_detections_in_other_scans_are_left_out_with_a_warning():
    detections = marks(("a", 0, 0, 0, 0.5), ("x", 0, 0, 0, 0.9), ("y", 0, 0, 0, 0.9))
    nodules = findings(NODULE, ("x", 0, 0, 0, 6))  # of another fold
    with pytest.warns(UserWarning, match=r"2 of 3 detections are left out.*\(x, ...\)"):
        result = froc(detections, nodules)
    assert counted(result) == (1, 0, 0, 0, 0)


@pytest.mark.parametrize("options", [{"max_marks_per_scan": 0}, {"bootstrap": -1}])
def test_luna16_froc_options_out_of_range_are_errors(options):
    with pytest.raises(ValueError, match=rf"{next(iter(options))} must be at least"):
        froc(marks(), findings(), **options)


@pytest.mark.parametrize("options", [{"max_marks_per_scan": 1.5}, {"bootstrap": 10.0}])
def test_luna16_froc_options_that_are_no_integers_are_errors(options):
    with pytest.raises(TypeError, match="integer"):
        froc(marks(), findings(), **options)


def oracle(detections, annotations, excluded, scans, limit):
    """The rules in loops: counts, and sensitivity at the seven rates."""
    total, hits, false, irrelevant, doubles = 0, [], [], 0, 0
    for scan in scans:
        own = [(tuple(r[1:4]), r[4]) for r in detections if r[0] == scan]
        if len(own) > limit:
            bound = sorted((p for _, p in own), reverse=True)[limit]
            own = [(x, p) for x, p in own if p > bound]

        def on(finding, own=own):
            radius = (10 if finding[4] < 0 else finding[4]) / 2
            return {
                i for i, (x, _) in enumerate(own)
                if sum((a - b) ** 2 for a, b in zip(x, finding[1:4], strict=True)) < radius**2
            }  # fmt: skip

        used, dropped = set(), set()
        for nodule in (row for row in annotations if row[0] == scan):
            total += 1
            if on(nodule):
                hits.append(max(own[i][1] for i in on(nodule)))
                doubles += len(on(nodule)) - 1
            used |= on(nodule)
        for other in (row for row in excluded if row[0] == scan):
            dropped |= on(other) - used
        irrelevant += len(dropped)
        false += [p for i, (_, p) in enumerate(own) if i not in used | dropped]
    points = [(0.0, 0.0 if total else np.nan)]
    for t in sorted({*hits, *false}, reverse=True):
        rate = sum(p >= t for p in false) / max(len(false), 1) * len(false) / len(scans)
        points.append((rate, sum(p >= t for p in hits) / total if total else np.nan))
    counts = (len(hits), len(false), total - len(hits), irrelevant, doubles)
    return counts, [at_rate(points, rate) for rate in RATES]


def at_rate(points, rate):
    """The curve at a rate: linear between the points around it, after any step at the rate."""
    left = [point for point in points if point[0] <= rate][-1]
    right = next((point for point in points if point[0] > rate), None)
    if right is None:
        return left[1]
    share = (rate - left[0]) / (right[0] - left[0])
    return left[1] + share * (right[1] - left[1])


SCANS = st.sampled_from("abc")
COORDINATE = st.integers(0, 4)
MARK = st.tuples(SCANS, COORDINATE, COORDINATE, COORDINATE, st.integers(0, 6))
FINDING = st.tuples(
    SCANS, COORDINATE, COORDINATE, COORDINATE, st.sampled_from([-1.0, 0.0, 2.0, 3.0, 4.0])
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(MARK, max_size=25), st.lists(FINDING, max_size=5), st.lists(FINDING, max_size=3),
    st.integers(1, 8), st.integers(0, 5),
)  # fmt: skip
def test_luna16_froc_agrees_with_the_rules_in_loops(detections, annotations, excluded, limit, more):
    scans = [*"abc", *(f"empty{i}" for i in range(more))]
    result = froc(
        marks(*detections), findings(*annotations), findings(*excluded), scans,
        max_marks_per_scan=limit,
    )  # fmt: skip
    counts, sensitivity = oracle(detections, annotations, excluded, scans, limit)
    assert counted(result) == counts
    np.testing.assert_allclose(result.sensitivity, sensitivity, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_luna16_froc_intervals_are_percentiles_over_resampled_problems(seed):
    rng, scans = np.random.default_rng(seed + 10), "abcdef"
    detections = [
        (rng.choice([*scans]), *rng.integers(0, 4, 3).tolist(), int(rng.integers(9)))
        for _ in range(60)
    ]
    annotations = [(scan, 1, 1, 2, 3.0) for scan in "abb"]
    draws, rows = np.random.default_rng(seed), []
    for _ in range(40):
        sample = [scans[i] for i in draws.integers(6, size=6)]
        copies = [
            [(i, *row[1:]) for i, scan in enumerate(sample) for row in table if row[0] == scan]
            for table in (detections, annotations)
        ]
        _, sensitivity = oracle(*copies, [], range(6), 100)
        rows.append([*sensitivity, np.mean(sensitivity)])
    defined = np.sort([row for row in rows if not np.isnan(row[0])], axis=0)
    assert len(defined) < 40  # some samples have no nodule
    low, high = defined[int(0.025 * len(defined))], defined[int(0.975 * len(defined))]
    result = froc(
        marks(*detections), findings(*annotations), scans=[*scans], bootstrap=40, seed=seed
    )
    np.testing.assert_allclose([*result.low, result.cpm_low], low, atol=1e-12)
    np.testing.assert_allclose([*result.high, result.cpm_high], high, atol=1e-12)
    assert (low < high).any()
