"""Published controller of the non-adjacency weight, validation by validation."""

import math

import pytest

from semilung.strategies.non_adjacency.weight_controller import LambdaControl


def feed(control, *dices, progress=0.1):
    """λ after each validation."""
    weights = []
    for dice in dices:
        control.update(dice, train_dice=0.8, value=0.001, progress=progress)
        weights.append(control.weight)
    return weights


def started():
    """After the first validation: reference 0.8, and a weight of 100 for round numbers."""
    control = LambdaControl()
    feed(control, 0.8)
    control.weight = 100.0
    return control


def test_the_first_validation_sets_weight_and_reference():
    control = LambdaControl()
    assert control.weight == 0
    control.update(0.7, train_dice=0.8, value=0.002, progress=0.1)
    assert control.weight == pytest.approx(0.3 * 0.8 / 0.002)
    assert control.reference == 0.7


@pytest.mark.parametrize(
    ("dice", "train_dice", "value"),
    [(math.nan, 0.8, 0.1), (0.7, math.nan, 0.1), (0.7, 0.8, math.nan), (0.7, 0.8, 0), (0.7, 0, 1)],
)
def test_it_waits_for_a_validation_that_can_set_them(dice, train_dice, value):
    control = LambdaControl()
    control.update(dice, train_dice=train_dice, value=value, progress=0.1)
    assert control == LambdaControl() or math.isnan(control.reference)
    assert control.weight == 0
    assert feed(control, 0.8) == pytest.approx([240])


def test_every_fifth_good_validation_raises_the_weight():
    # good: less than 0.01 below the reference, or above it
    weights = feed(started(), 0.8, 0.9, 0.795, 0.7901, 0.85, 0.8, 0.8, 0.8, 0.8, 0.8)
    assert weights == pytest.approx([100] * 4 + [130] * 5 + [169])


def test_a_small_drop_holds_the_count_and_a_large_one_begins_it_anew():
    hold = feed(started(), 0.8, 0.8, 0.8, 0.8, 0.785, 0.8)
    assert hold == pytest.approx([100] * 5 + [130])
    anew = feed(started(), 0.8, 0.8, 0.8, 0.8, 0.779, 0.8, 0.8, 0.8, 0.8, 0.8)
    assert anew == pytest.approx([100] * 9 + [130])


def test_five_and_ten_validations_without_a_good_one_lower_the_weight():
    weights = feed(started(), *[0.785, 0.7] * 5)
    assert weights == pytest.approx([100] * 4 + [95] * 5 + [95 * 0.9])
    broken = feed(started(), *[0.7] * 4, 0.8, *[0.7] * 4)
    assert broken == pytest.approx([100] * 9)


def test_an_undefined_dice_lowers_weight_and_factor_and_the_third_ends_the_tuning():
    control = started()
    assert feed(control, math.nan) == pytest.approx([90])
    assert control.factor == pytest.approx(1.3 * 0.98)
    assert feed(control, *[0.8] * 5)[-1] == pytest.approx(90 * 1.3 * 0.98)
    feed(control, math.nan, math.nan)
    before = control.weight
    assert feed(control, *[0.9] * 20) == [before] * 20


def test_after_seven_tenths_the_weight_only_falls_while_dice_is_below_the_reference():
    control = started()
    assert feed(control, *[0.9] * 10, progress=0.7) == [100] * 10
    weights = feed(control, 0.799, 0.799, 0.9, 0.799, 0.799, 0.799, 0.9, progress=0.8)
    assert weights == pytest.approx([100] * 5 + [90] * 2)


def test_what_may_be_chosen():
    control = LambdaControl()
    means = {"train_dice": 0.5, "value": 0.1}
    assert control.acceptable(0.1, **means)  # it makes the reference
    assert not control.acceptable(math.nan, **means)
    assert not control.acceptable(0.1, train_dice=0.0, value=0.1)
    assert not control.acceptable(0.1, train_dice=0.5, value=0.0)  # nothing is marked
    feed(control, 0.8)
    assert control.acceptable(0.7951, **means)
    assert not control.acceptable(0.7949, **means)
    assert not control.acceptable(math.nan, **means)


def test_its_state_restores_it():
    control = started()
    feed(control, math.nan, 0.8, 0.7, 0.8)
    again = LambdaControl.restore(control.state())
    assert again == control
    assert isinstance(again.good, int)
    assert LambdaControl.restore(LambdaControl().state()).weight == 0
