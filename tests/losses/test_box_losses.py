"""Losses of boxes: golden values by hand, true, empty, large and shifted balls, ignored voxels."""

import math

import pytest
import torch
from loss_inputs import random_logits, random_mask
from torch.autograd import gradcheck

from semilung.losses import (
    box_emptiness_loss,
    box_tightness_loss,
    pairwise_affinity_loss,
    size_barrier_loss,
)

LN2 = math.log(2)
SIZE, CENTRE, RADIUS = (21, 21, 21), (10.0, 10.0, 10.0), 5.0
CONFIDENT = 12.0


def boxes(*rows, batch=1):
    """`(batch, N, 2 D)` of rows (centre, half edges)."""
    return torch.tensor([rows], dtype=torch.float64).expand(batch, -1, -1)


BALL = boxes((*CENTRE, RADIUS, RADIUS, RADIUS))


def ball(radius=RADIUS, centre=CENTRE, size=SIZE):
    """Confident logits `(1, 1, *size)` of a ball."""
    axes = torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")
    squared = sum((x - c) ** 2 for x, c in zip(axes, centre, strict=True))
    return torch.where(squared <= radius**2, CONFIDENT, -CONFIDENT)[None, None].double()


def line(*probs):
    """Logits `(1, 1, 1, n)` of probabilities."""
    return torch.logit(torch.tensor(probs, dtype=torch.float64)).view(1, 1, 1, -1)


def tightness(logits, rows=BALL, **options):
    return box_tightness_loss(logits, rows, **{"depth": 0.5, **options}).item()


def size(logits, rows=BALL, **options):
    return size_barrier_loss(logits, rows, **{"t": 50.0, **options}).item()


def emptiness(logits, rows=BALL, **options):
    return box_emptiness_loss(logits, rows, **options).item()


def gradient(loss, logits, *arguments, **options):
    x = logits.clone().requires_grad_()
    loss(x, *arguments, **options).backward()
    return x.grad


# What the constraints say of balls


def test_box_losses_of_the_true_ball_are_near_zero():
    assert tightness(ball()) < 1e-4
    assert emptiness(ball()) < 1e-4
    assert size(ball()) < 0.05


@pytest.mark.parametrize("offset", [(0.3, -0.4, 0.1), (0.5, 0.5, 0.5)])
@pytest.mark.parametrize("radius", [2.0, 3.3, 6.0])
def test_box_losses_of_the_true_ball_are_near_zero_at_any_size_and_place(radius, offset):
    centre = tuple(c + o for c, o in zip(CENTRE, offset, strict=True))
    rows = boxes((*centre, radius, radius, radius))
    logits = ball(radius, centre)
    assert tightness(logits, rows) < 1e-4
    assert emptiness(logits, rows) < 1e-4
    assert size(logits, rows) < 0.06


def test_box_losses_of_an_empty_prediction_are_of_tightness_and_size():
    empty = torch.full((1, 1, *SIZE), -CONFIDENT, dtype=torch.float64)
    assert tightness(empty) == pytest.approx(CONFIDENT, abs=1e-4)
    assert size(empty) == pytest.approx(50 * 0.8**3, rel=0.02)
    assert emptiness(empty) < 1e-4


def test_box_losses_of_a_large_prediction_are_of_size_and_emptiness():
    assert tightness(ball(9)) < 1e-4
    assert size(ball(9)) > 10
    assert emptiness(ball(9)) > 0.5


def test_box_losses_of_a_small_prediction_are_of_tightness_and_size():
    assert tightness(ball(2)) > 2
    assert size(ball(2)) > 10
    assert emptiness(ball(2)) < 1e-4


def test_box_losses_of_a_shifted_prediction_are_of_all():
    shifted = ball(centre=(18.0, 10.0, 10.0))
    assert tightness(shifted) > 0.5
    assert size(shifted) > 5
    assert emptiness(shifted) > 0.1


def test_box_losses_push_centre_up_and_outside_down():
    flat = torch.zeros((1, 1, *SIZE), dtype=torch.float64)
    centre, corner, rim = ((0, 0, *voxel) for voxel in ((10, 10, 10), (0, 0, 0), (10, 10, 15)))
    pull = gradient(box_tightness_loss, ball(2), BALL, depth=0.5)
    assert pull[centre] <= 0 == pull[corner]
    assert pull.sum() < 0
    assert gradient(box_tightness_loss, flat - 3, BALL, depth=0.9)[centre] < 0
    push = gradient(box_emptiness_loss, flat, BALL)
    assert push[corner] > 0 == push[centre]
    assert gradient(size_barrier_loss, flat - 3, BALL)[centre] < 0
    assert gradient(size_barrier_loss, flat + 3, BALL)[rim] > 0


# Tightness


def test_box_tightness_golden_of_lines_and_columns():
    # 2D, box of 3 x 3 voxels; core 1/2 keeps one line along each axis, those through the centre.
    probs = torch.tensor([[0.9, 0.5, 0.9], [0.25, 0.125, 0.2], [0.9, 0.4, 0.9]])
    loss = box_tightness_loss(torch.logit(probs)[None, None], boxes((1, 1, 1.5, 1.5)))
    assert loss.item() == pytest.approx((-math.log(0.5) - math.log(0.25)) / 2, rel=1e-5)


def test_box_tightness_depth_takes_the_mean_of_the_highest_share():
    # the line of 4 voxels needs 2: the mean of 0.8 and 0.6; across it, each voxel by itself
    rows = boxes((0, 1.5, 0.5, 1.9))
    logits = line(0.8, 0.1, 0.6, 0.2)
    along = -math.log((0.8 + 0.6) / 2)
    across = -math.log(0.1) - math.log(0.6)  # within core * 1.9 of 1.5: the middle two
    loss = box_tightness_loss(logits, rows, depth=0.5)
    assert loss.item() == pytest.approx((along + across) / 3)


def test_box_tightness_width_lets_lines_stand_in_for_one_another():
    # two lines are one bag, which needs two voxels: both may lie in one of the lines
    probs = torch.tensor([[0.9, 0.8, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]], dtype=torch.float64)
    rows = boxes((0.5, 1.5, 1.0, 2.0))
    logits = torch.logit(probs)[None, None]
    one, two = (
        box_tightness_loss(logits, rows, core=1.0, line_width=width).item() for width in (1, 2)
    )
    lines, columns = (0.9, 0.1), (0.9, 0.8, 0.1, 0.1)
    assert one == pytest.approx(-sum(map(math.log, lines + columns)) / 6)
    assert two == pytest.approx(-sum(map(math.log, (0.85, 0.85, 0.1))) / 3)


def test_box_tightness_ignores_lines_that_miss_the_ball():
    # a cross of three lines through the centre satisfies core -> 0, a full box needs them all
    logits = torch.full((1, 1, *SIZE), -CONFIDENT, dtype=torch.float64)
    for axis in range(3):
        index = [10, 10, 10]
        index[axis] = slice(5, 16)
        logits[(0, 0, *index)] = CONFIDENT
    assert tightness(logits, core=0.1, depth=0.0) < 1e-4
    assert tightness(logits, core=0.5, depth=0.0) > 1
    assert tightness(ball(), core=1.0, depth=0.0) < 1e-4  # lines in the disc, not in its corners


def test_box_tightness_of_a_cut_nodule_uses_what_is_seen():
    rows = boxes((0.0, 10.0, 10.0, 5.0, 5.0, 5.0))
    assert tightness(ball(centre=(0.0, 10.0, 10.0)), rows) < 1e-4
    assert tightness(torch.full_like(ball(), -CONFIDENT), rows) > 0.9 * CONFIDENT
    # the centre is outside: no line along x counts, the others do
    rows = boxes((-2.0, 10.0, 10.0, 5.0, 5.0, 5.0))
    assert tightness(ball(centre=(-2.0, 10.0, 10.0)), rows) < 1e-4
    rows = boxes((-4.9, 10.0, 10.0, 5.0, 5.0, 5.0))  # nothing of the bundle is in the crop
    assert tightness(-ball(), rows) == 0


def test_box_tightness_of_a_tiny_nodule_asks_for_its_voxel():
    rows = boxes((3.4, 3.4, 3.4, 0.1, 0.1, 0.1))
    logits = torch.full((1, 1, 7, 7, 7), -CONFIDENT, dtype=torch.float64)
    assert tightness(logits, rows) == pytest.approx(CONFIDENT, abs=1e-4)
    logits[0, 0, 3, 3, 3] = CONFIDENT
    assert tightness(logits, rows) < 1e-4


# Emptiness


def test_box_emptiness_golden():
    logits, rows = line(0.5, 0.9, 0.75), boxes((0, 1, 0.5, 0.5))
    assert emptiness(logits, rows, margin=1) == pytest.approx((LN2 + math.log(4)) / 2)
    assert emptiness(logits, rows, margin=1, hardest=0.5) == pytest.approx(math.log(4))
    assert emptiness(logits, rows, margin=2) == 0  # 1 voxel to each side


def test_box_emptiness_hardest_is_a_share_of_the_voxels_outside():
    logits = random_logits(1, size=(6, 5, 4))
    rows = boxes((2, 2, 2, 1.5, 1.5, 1.5), (9, 9, 9, 1, 1, 1), batch=2)
    by_hand = []
    for sample in logits:
        outside = [
            math.log1p(math.exp(sample[0, x, y, z]))
            for x in range(6)
            for y in range(5)
            for z in range(4)
            if math.dist((x, y, z), (2, 2, 2)) > 1.5
        ]
        hardest = sorted(outside, reverse=True)[: math.ceil(0.3 * len(outside))]
        by_hand.append(sum(hardest) / len(hardest))
    loss = emptiness(logits, rows, margin=1, hardest=0.3)
    assert loss == pytest.approx(sum(by_hand) / 2)


@pytest.mark.parametrize("hardest", [1.0, 0.9])
def test_box_emptiness_is_a_mean_over_samples_of_their_own_voxels(hardest):
    rows = torch.cat([boxes((0, 0, 0.5, 0.5)), boxes((math.nan,) * 4)])
    loss = emptiness(line(0.5, 0.9).repeat(2, 1, 1, 1), rows, margin=1, hardest=hardest)
    assert loss == pytest.approx((math.log(10) + (LN2 + math.log(10)) / 2) / 2)


def test_box_emptiness_without_boxes_is_everywhere():
    empty = torch.empty(1, 0, 4)
    assert emptiness(line(0.5, 0.5), empty) == pytest.approx(LN2)
    assert emptiness(line(0.5, 0.5), boxes((math.nan,) * 4)) == pytest.approx(LN2)


# Size


def test_size_barrier_golden():
    # p = 1/2 in a 2D box whose ellipse holds 5 voxels at margin 1: S = 2.5, V = its soft volume
    logits, rows = torch.zeros(1, 1, 5, 5, dtype=torch.float64), boxes((2, 2, 1, 1))
    soft = sum(
        min(1, max(0, 1.5 - math.dist((x, y), (2, 2)))) for x in range(5) for y in range(5)
    ) / (1 + 1 / 12)
    ratio = 2.5 / soft
    below = -math.log(ratio - 0.8**2) / 5  # holds
    above = -math.log(1.2**2 - ratio) / 5
    assert size(logits, rows, margin=1.0, t=5.0) == pytest.approx(below + above)
    # at p = 0.1 the lower bound is violated: 5 z - ln(1 / 25) / 5 + 1 / 5
    logits, ratio = torch.full_like(logits, -math.log(9)), 0.5 / soft
    below = 5 * (0.8**2 - ratio) + math.log(25) / 5 + 1 / 5
    above = -math.log(1.2**2 - ratio) / 5
    assert size(logits, rows, margin=1.0, t=5.0) == pytest.approx(below + above)


def test_size_barrier_prefers_the_true_size():
    sizes = [size(ball(r), t=5.0) for r in (0, 2, 3, 4, 5, 6, 7)]
    assert sizes.index(min(sizes)) == 4
    assert sizes == sorted(sizes[:5], reverse=True) + sorted(sizes[5:])


def test_size_barrier_sharpens_with_t():
    inside = [size(ball(), t=t) for t in (5.0, 50.0, 500.0)]
    assert inside == sorted(inside, reverse=True)
    assert inside[-1] < 0.01
    assert size(ball(8), t=500.0) > 9 * size(ball(8), t=50.0)


def test_size_barrier_gives_each_of_two_nodules_its_size():
    one, two = (6.0, 10.0, 10.0), (14.0, 10.0, 10.0)
    rows = boxes((*one, 3.0, 3.0, 3.0), (*two, 3.0, 3.0, 3.0))
    both = torch.maximum(ball(3, one), ball(3, two))
    assert size(both, rows) < 0.05
    # the first one twice as large does not make up for the second one missing
    assert size(ball(3 * 2 ** (1 / 3), one), rows) > 5


def test_size_barrier_of_a_cut_nodule_is_that_of_its_visible_part():
    rows = boxes((0.0, 10.0, 10.0, 5.0, 5.0, 5.0))
    assert size(ball(centre=(0.0, 10.0, 10.0)), rows) < 0.06
    outside = boxes((-0.6, 10.0, 10.0, 5.0, 5.0, 5.0))
    assert size(-ball(), outside) == 0


# What all of them share

ROWS = boxes((1.5, 1.0, 2.0, 1.4, 1.3, 1.2), (math.nan,) * 6, batch=2)
LOSSES = {
    "tightness": lambda x, mask=None: box_tightness_loss(x, ROWS[: len(x)], depth=0.5, mask=mask),
    "emptiness": lambda x, mask=None: box_emptiness_loss(x, ROWS[: len(x)], margin=1, mask=mask),
    "hardest": lambda x, mask=None: box_emptiness_loss(
        x, ROWS[: len(x)], margin=1, hardest=0.4, mask=mask
    ),
    "size": lambda x, mask=None: size_barrier_loss(x, ROWS[: len(x)], mask=mask),
    "affinity": lambda x, mask=None: pairwise_affinity_loss(
        x, random_logits(1, 7, size=x.shape[2:])[: len(x)] * 0.05, mask=mask
    ),
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@each_loss
def test_box_losses_gradcheck(loss):
    logits = random_logits(1, size=(4, 3, 4)).requires_grad_()
    assert gradcheck(loss, (logits,))


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "affinity"])
def test_box_losses_are_means_over_samples(name):
    loss, logits = LOSSES[name], random_logits(1, size=(4, 3, 4))
    single = [loss(logits[i : i + 1]).item() for i in range(2)]
    assert loss(logits).item() == pytest.approx(sum(single) / 2)
    assert single[0] != single[1]


@each_loss
def test_box_losses_of_two_classes_equal_those_of_their_difference(loss):
    logits = random_logits(2, size=(4, 3, 4))
    binary = logits[:, 1:] - logits[:, :1]
    torch.testing.assert_close(loss(logits), loss(binary))


@each_loss
def test_box_losses_never_read_ignored_voxels(loss):
    logits = random_logits(1, size=(4, 3, 4))
    mask = random_mask(size=(4, 3, 4))
    mask[:, :, 1:3, 1, 1:4] = True  # lines of tightness
    expected = loss(logits, mask)
    spoilt = torch.where(mask, logits, math.nan).requires_grad_()
    value = loss(spoilt, mask)
    value.backward()
    torch.testing.assert_close(value, expected)
    assert spoilt.grad.isfinite().all()
    assert spoilt.grad[~mask].abs().sum() == 0


@each_loss
def test_box_losses_all_ignored_are_zero_with_zero_gradient(loss):
    logits = random_logits(1, size=(4, 3, 4)).requires_grad_()
    value = loss(logits, torch.zeros((2, 1, 4, 3, 4), dtype=torch.bool))
    (pull,) = torch.autograd.grad(value, logits)
    assert value.item() == 0
    assert pull.abs().sum() == 0


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_box_losses_of_extreme_logits_are_finite(loss, dtype, value):
    signs = random_mask(size=(4, 3, 4)).to(dtype) * 2 - 1
    logits = (value * signs).requires_grad_()
    result = loss(logits)
    result.backward()
    assert result.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("loss", [tightness, size])
def test_box_losses_of_a_sample_are_means_over_its_boxes(loss):
    one, two = (5.0, 5.0, 5.0, 3.0, 3.0, 3.0), (15.0, 15.0, 15.0, 2.0, 2.0, 2.0)
    single = [loss(ball(3, (6.0, 5.0, 5.0)), boxes(row)) for row in (one, two)]
    assert single[0] != single[1]
    both = loss(ball(3, (6.0, 5.0, 5.0)), boxes(one, two, (math.nan,) * 6))
    assert both == pytest.approx(sum(single) / 2)


def test_size_barrier_leaves_out_nodules_of_ignored_voxels():
    mask = torch.ones((1, 1, *SIZE), dtype=torch.bool)
    mask[0, 0, 10, 10, 16] = False  # within 1.5 radii
    assert size(-ball(), mask=mask) == 0
    mask[0, 0, 10, 10, 16], mask[0, 0, 10, 10, 18] = True, False
    assert size(-ball(), mask=mask) > 1


def test_box_losses_errors_say_what_does_not_match():
    logits = torch.zeros(1, 1, 4, 4, 4)
    rows = boxes((1, 1, 1, 1, 1, 1))
    for loss in (box_tightness_loss, box_emptiness_loss, size_barrier_loss):
        with pytest.raises(ValueError, match=r"boxes .* do not match a prediction"):
            loss(logits, rows[..., :5])
        with pytest.raises(ValueError, match=r"boxes .* do not match a prediction"):
            loss(logits, rows.expand(2, -1, -1))
        with pytest.raises(ValueError, match="negative half edges"):
            loss(logits, -rows)
    with pytest.raises(ValueError, match="does not match logits"):
        pairwise_affinity_loss(logits, logits[..., :3])


@pytest.mark.parametrize(
    ("loss", "option", "value"),
    [
        (box_tightness_loss, "core", 0),
        (box_tightness_loss, "core", 1.1),
        (box_tightness_loss, "depth", 1),
        (box_tightness_loss, "depth", -0.1),
        (box_tightness_loss, "line_width", 0),
        (box_emptiness_loss, "margin", 0.9),
        (box_emptiness_loss, "hardest", 0),
        (size_barrier_loss, "tolerance", 0),
        (size_barrier_loss, "tolerance", 1),
        (size_barrier_loss, "margin", 0.9),
        (size_barrier_loss, "t", 0),
        (pairwise_affinity_loss, "theta", 0),
        (pairwise_affinity_loss, "threshold", 0),
        (pairwise_affinity_loss, "dilation", 0),
    ],
)
def test_box_losses_options_out_of_range_are_errors(loss, option, value):
    logits = torch.zeros(1, 1, 4, 4, 4)
    other = logits if loss is pairwise_affinity_loss else boxes((1, 1, 1, 1, 1, 1))
    with pytest.raises(ValueError, match=f"{option} must"):
        loss(logits, other, **{option: value})
