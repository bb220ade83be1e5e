"""Box supervision: balls in mm, doubtful and unmeasured nodules, and what a net learns of them."""

import math

import pytest
import torch
from pixel_nets import pixel_learner

from semilung.losses import box_emptiness_loss, box_tightness_loss, size_barrier_loss
from semilung.models import build_model
from semilung.strategies import Learner, build_strategy
from semilung.strategies.box_supervised import Balls, BoxSupervised
from semilung.types import UserError

SIZE, CENTRE, CONFIDENT = 20, (9.0, 10.0, 9.5), 12.0
NODULE = (*CENTRE, 8.0, 1.0)


def ball(centre=CENTRE, diameter_mm=8.0, spacing_mm=(1.0, 1.0, 1.0), *, size=SIZE):
    """`(size, size, size)` bool of a ball."""
    axes = torch.meshgrid(*(torch.arange(size),) * 3, indexing="ij")
    steps = zip(axes, centre, spacing_mm, strict=True)
    return sum(((x - c) * mm) ** 2 for x, c, mm in steps) <= (diameter_mm / 2) ** 2


def located(mask, *nodules, spacing_mm=(1.0, 1.0, 1.0)):
    """A batch of one crop whose image are the logits of a mask: those of a pixel net."""
    weak = torch.where(mask, CONFIDENT, -CONFIDENT)[None, None]
    rows = torch.tensor(nodules).view(1, -1, 5)
    return {"located": {"weak": weak, "nodules": rows, "spacing_mm": torch.tensor([spacing_mm])}}


def run(batch, progress=1.0, **options):
    options = {"affinity_weight": 0.0, **options}
    terms = pixel_learner(BoxSupervised(**options))(batch, progress)
    return {name.removeprefix("s/"): term for name, term in terms.items()}


def values(*arguments, **options):
    return {name: term.value.item() for name, term in run(*arguments, **options).items()}


def test_terms_of_the_true_ball_are_near_zero():
    terms = values(located(ball(), NODULE), affinity_weight=1.0)
    assert set(terms) == {"tightness", "emptiness", "size", "affinity"}
    assert all(value < 0.06 for value in terms.values())


@pytest.mark.parametrize(
    ("mask", "violated"),
    [
        (ball(diameter_mm=0.0), {"tightness", "size"}),
        (ball(diameter_mm=17.0), {"size", "emptiness"}),
        (ball((17.0, 10.0, 9.5)), {"tightness", "size", "emptiness"}),
    ],
    ids=["empty", "large", "shifted"],
)
def test_terms_of_other_predictions_are_violated(mask, violated):
    terms = values(located(mask, NODULE))
    assert {name for name, value in terms.items() if value > 0.5} == violated


def test_terms_take_diameters_in_mm_of_anisotropic_voxels():
    spacing_mm = (0.7, 1.0, 2.0)
    mask = ball(spacing_mm=spacing_mm)
    assert all(v < 0.06 for v in values(located(mask, NODULE, spacing_mm=spacing_mm)).values())
    isotropic = values(located(mask, NODULE), margin=1.0)
    assert isotropic["emptiness"] > 1


def test_terms_of_an_unmeasured_nodule_are_emptiness_outside_of_10_mm():
    unmeasured = (*CENTRE, math.nan, 1.0)
    nothing = values(located(ball(diameter_mm=0.0), unmeasured))
    assert nothing == {"tightness": 0, "size": 0, "emptiness": pytest.approx(0, abs=1e-4)}
    assert values(located(ball(diameter_mm=10), unmeasured), margin=1.0)["emptiness"] < 1e-4
    assert values(located(ball(diameter_mm=13), unmeasured), margin=1.0)["emptiness"] > 1


def test_terms_of_an_ignored_finding_say_neither_inside_nor_outside():
    finding, mask = (4.0, 4.0, 4.0, 5.0, 0.0), ball((4.0, 4.0, 4.0), 5.0)
    both = ball() | mask
    for prediction in (ball(), both):
        terms = values(located(prediction, NODULE, finding), hardest=1.0)
        assert all(value < 0.06 for value in terms.values())
    assert values(located(both, NODULE), hardest=1.0)["emptiness"] > 0.01
    # next to the ball it is background again
    beyond = both | ball((4.0, 4.0, 4.0), 8.0)
    assert values(located(beyond, NODULE, finding))["emptiness"] > 1
    unmeasured = (4.0, 4.0, 4.0, math.nan, 0.0)
    assert values(located(beyond, NODULE, unmeasured))["emptiness"] < 1e-4


def test_terms_of_an_ignored_finding_on_a_nodule_leave_the_nodule_one():
    balls = Balls.of(torch.tensor([[NODULE, (*CENTRE[:2], 13.0, 6.0, 0.0)]]), torch.ones(1, 3))
    certain = balls.certain(torch.zeros(1, 1, *(SIZE,) * 3))[0, 0]
    assert certain[ball()].all()
    assert not certain[ball((*CENTRE[:2], 13.0), 6.0) & ~ball()].any()
    assert certain[~ball((*CENTRE[:2], 13.0), 6.0)].all()


def test_terms_of_a_nodule_partly_outside_use_its_visible_part():
    centre = (0.5, 10.0, 9.5)
    mask = ball(centre)
    assert all(value < 0.06 for value in values(located(mask, (*centre, 8.0, 1.0))).values())
    centre = (-2.0, 10.0, 9.5)  # centre outside: its volume is uncertain
    terms = values(located(ball(centre), (*centre, 8.0, 1.0)))
    assert terms["size"] == 0
    assert terms["tightness"] < 1e-4 > terms["emptiness"]


def test_terms_of_a_crop_without_nodules_are_emptiness():
    empty = values(located(ball()))
    assert empty["tightness"] == empty["size"] == 0
    whole = values(located(ball(diameter_mm=10)))  # more than the hardest share
    assert empty["emptiness"] > 5
    assert whole["emptiness"] == pytest.approx(CONFIDENT, rel=0.01)


def test_terms_are_means_over_samples_of_any_number_of_nodules():
    other = (4.0, 4.0, 4.0, 5.0, 1.0)
    single = [located(ball(), NODULE), located(ball(), NODULE, other)]
    rows = [sample["located"]["nodules"][0] for sample in single]
    both = {
        "weak": single[0]["located"]["weak"].expand(2, -1, -1, -1, -1),
        "nodules": torch.nn.utils.rnn.pad_sequence(rows, True, torch.nan),
        "spacing_mm": torch.ones(2, 3),
    }
    means = values({"located": both}, hardest=1.0)
    apart = [values(sample, hardest=1.0) for sample in single]
    assert apart[0]["size"] != apart[1]["size"]
    for name, value in means.items():
        assert value == pytest.approx((apart[0][name] + apart[1][name]) / 2, rel=1e-5)


def test_terms_follow_their_options():
    """Each option reaches its loss, with its weight at the progress."""
    mask = ball(diameter_mm=5.0)
    batch = located(mask, NODULE)
    options = {"core": 0.8, "depth": 0.3, "line_width": 2, "margin": 1.2, "hardest": 0.3}
    terms = run(batch, 0.5, **options, tolerance=0.1, barrier=(2.0, 32.0), size_weight=0.7)
    logits, boxes = batch["located"]["weak"], Balls.of(*list(batch["located"].values())[1:]).nodules
    expected = {
        "tightness": box_tightness_loss(logits, boxes, core=0.8, depth=0.3, line_width=2),
        "emptiness": box_emptiness_loss(logits, boxes, margin=1.2, hardest=0.3),
        "size": size_barrier_loss(logits, boxes, tolerance=0.1, margin=1.2, t=8.0),
    }
    for name, value in expected.items():
        assert terms[name].value.item() == pytest.approx(value.item())
    assert terms["size"].weight == 0.7


def test_affinity_ramps_up_and_is_near_the_nodules_alone():
    batch = located(ball(), NODULE)
    start, end = (run(batch, p, affinity_weight=2.0, affinity_rampup=0.4) for p in (0.0, 0.4))
    assert start["affinity"].weight == pytest.approx(2 * math.exp(-5))
    assert end["affinity"].weight == 2
    batch = located(ball(), NODULE)
    batch["located"]["weak"] = batch["located"]["weak"].clone().requires_grad_()
    run(batch, affinity_weight=1.0)["affinity"].value.backward()
    pulled = batch["located"]["weak"].grad[0, 0] != 0
    assert pulled.any()
    assert not pulled[~ball(diameter_mm=8 * 1.5 + 2 * 3**0.5)].any()


@pytest.mark.parametrize(
    "options",
    [
        {"core": 0.0},
        {"depth": 1.0},
        {"line_width": 0},
        {"margin": 0.5},
        {"hardest": 0.0},
        {"tolerance": 1.0},
        {"barrier": (5.0, 1.0)},
        {"barrier": (0.0, 1.0)},
        {"theta": 0.0},
        {"size_weight": -1.0},
        {"affinity_rampup": 2.0},
    ],
    ids=str,
)
def test_box_supervised_option_out_of_range_is_an_error_before_the_training(options):
    with pytest.raises((UserError, ValueError)):
        build_strategy("box_supervised", options)


# A net that has seen no mask


def ellipsoid(generator, size=16):
    """Image, mask, and a jittered centre and diameter of an ellipsoid next to a bright vessel."""
    axes = torch.meshgrid(*(torch.arange(size).float(),) * 3, indexing="ij")
    grid = torch.stack(axes, dim=-1)
    centre = 5 + (size - 10) * torch.rand(3, generator=generator)
    radius = 2.5 + 1.5 * float(torch.rand((), generator=generator))
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    half_axes = radius * torch.tensor([1.4, 1.0, 1 / 1.4])
    mask = ((grid - centre) @ turn / half_axes).norm(dim=-1) <= 1
    vessel = (grid - size * torch.rand(3, generator=generator))[..., :2].norm(dim=-1) < 1.3
    image = torch.where(mask | vessel, 0.7, 0.1)
    image = image + 0.04 * torch.randn(image.shape, generator=generator)
    error = 0.1 * (2 * torch.rand(4, generator=generator) - 1)
    point = [*(centre + 2 * radius * error[:3]).tolist(), 2 * radius * (1 + float(error[3])), 1.0]
    return image[None], mask[None], torch.tensor([point])


def ellipsoids(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return tuple(map(torch.stack, zip(*(ellipsoid(generator) for _ in range(count)), strict=True)))


def mean_dice(prediction, mask):
    prediction, mask = prediction.flatten(1).float(), mask.flatten(1).float()
    overlap = 2 * (prediction * mask).sum(1)
    return (overlap / (prediction.sum(1) + mask.sum(1)).clamp(min=1)).mean().item()


def test_box_supervised_learns_outlines_from_centres_and_diameters_alone():
    images, masks, points = ellipsoids(16, seed=99)
    torch.manual_seed(0)
    net = build_model("reversible_unet", {"widths": (8, 16), "depth": 1, "prior": 0.1})
    learner = Learner(net, {"box": build_strategy("box_supervised")})
    optimizer = torch.optim.Adam(learner.parameters(), lr=5e-3)

    @torch.no_grad()
    def score():
        return mean_dice(net(images)["logits"] > 0, masks)

    before, steps = score(), 110
    for step in range(steps):
        weak, _, nodules = ellipsoids(3, seed=step)
        batch = {"weak": weak, "nodules": nodules, "spacing_mm": torch.ones(3, 3)}
        terms = learner({"located": batch}, step / steps)
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / steps)
        optimizer.zero_grad()
        sum(term.weight * term.value for term in terms.values()).backward()
        optimizer.step()
    # the ball that the label describes, which no net can know on new images
    described = torch.stack(
        [ball(p[0, :3].tolist(), float(p[0, 3]), size=16)[None] for p in points]
    )
    after, of_balls = score(), mean_dice(described, masks)  # 0.84 and 0.74
    assert before < 0.3
    assert after > of_balls + 0.03
