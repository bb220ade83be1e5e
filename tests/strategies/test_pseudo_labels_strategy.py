"""Pseudo-labelling: confident and ignored voxels, adaptive thresholds, and the collapse alarm."""

import io
import math
import warnings

import pytest
import torch
from pixel_nets import CentreNet, logit, peaks, pixel_learner
from torch import nn

from semilung.losses import hard_labels, pseudo_label_loss
from semilung.strategies import Learner, build_strategy
from semilung.strategies.pseudo_label import CollapseAlarm, PseudoLabel
from semilung.testing import check_strategy, tiny_student
from semilung.types import UserError

QUIET = {"alarm_below": 0.0}


def crops(weak, strong=None, masks=None):
    """A step of one unlabelled crop by the labeller's probabilities, and one labelled mask."""
    batch = {"unlabelled": {"weak": logit(weak), "strong": logit(strong or weak)}}
    if masks is not None:
        masks = torch.tensor(masks, dtype=torch.uint8).view(1, 1, -1, 1, 1)
        batch["labelled"] = {"mask": masks}
    return batch


def gradient(strategy, batch):
    """The gradient at each voxel of the student's strong view."""
    learner = pixel_learner(strategy)
    learner(batch, 1.0)["s/pseudo_label"].value.backward()
    return learner.student.outputs[-1].grad.flatten()


@pytest.mark.parametrize("labeller", ["student", "teacher"])
def test_golden_gradient_with_unsure_voxels_ignored(labeller):
    strategy = PseudoLabel(threshold=0.95, labeller=labeller)
    actual = gradient(strategy, crops([0.99, 0.6, 0.4, 0.01], strong=[0.7, 0.7, 0.7, 0.7]))
    # (p - label) / 2 at the two sure voxels: (0.7 - 1) / 2 and (0.7 - 0) / 2
    torch.testing.assert_close(actual, torch.tensor([-0.15, 0, 0, 0.35]))
    assert actual[1] == 0
    assert actual[2] == 0


def test_all_averages_over_every_voxel():
    actual = gradient(PseudoLabel(average="all"), crops([0.99, 0.6, 0.4, 0.01], [0.7] * 4))
    torch.testing.assert_close(actual, torch.tensor([-0.075, 0, 0, 0.175]))


def test_foreground_may_have_a_threshold_of_its_own():
    batch = crops([0.8, 0.6, 0.2, 0.01])
    assert (gradient(PseudoLabel(foreground_threshold=0.7), batch) != 0).tolist() == [
        True,
        False,
        False,
        True,
    ]
    assert (gradient(PseudoLabel(), batch) != 0).tolist() == [False, False, False, True]


def test_unconfident_voxels_as_background_are_caught(monkeypatch):
    def peers(logits, target, *, threshold, average):
        sure = target * (target >= threshold[1])  # argmax(p * mask): what is unsure loses
        return pseudo_label_loss(logits, sure, threshold=0.0)

    monkeypatch.setattr("semilung.strategies.pseudo_label.pseudo_label_loss", peers)
    with pytest.raises(AssertionError):
        test_golden_gradient_with_unsure_voxels_ignored("student")


def test_the_labeller_takes_no_gradient():
    learner = pixel_learner(PseudoLabel(labeller="student"))
    learner(crops([0.99, 0.01]), 1.0)["s/pseudo_label"].value.backward()
    weak, strong = learner.student.outputs
    assert strong.grad is not None
    assert weak.grad is None


def test_shares_are_logged_and_teach_nothing():
    terms = pixel_learner(PseudoLabel())(crops([0.99, 0.6, 0.03, 0.01]), 1.0)
    assert terms["s/confident_share"].value.item() == 0.75
    assert terms["s/foreground_share"].value.item() == pytest.approx(1 / 3)
    assert terms["s/confident_share"].weight == 0
    unsure = pixel_learner(PseudoLabel())(crops([0.6, 0.4]), 1.0)
    assert unsure["s/pseudo_label"].value == 0
    assert unsure["s/foreground_share"].value == 0


def test_adaptive_thresholds_move_as_the_formula_says():
    strategy = PseudoLabel(
        adaptive=True, floor=0.0, threshold=0.9, foreground_threshold=0.8, decay=0.5
    )
    learner = pixel_learner(strategy)
    batch = crops([0.9, 0.1, 0.2, 0.2])
    assert strategy.thresholds().tolist() == [0.5, 0.5]
    learner(batch, 1.0)
    assert strategy.thresholds().tolist() == [0.5, 0.5]  # the step sees what was before it
    learner.after_step(1.0)
    # confidence 0.85, background 0.65; halfway: 0.675, (0.575, 0.425)
    expected = torch.tensor([0.675, 0.675 * 0.425 / 0.575])
    torch.testing.assert_close(strategy.thresholds(), expected)
    terms = learner(batch, 1.0)
    torch.testing.assert_close(terms["s/threshold_foreground"].value, expected[1])
    learner.after_step(1.0)
    # 0.7625, (0.6125, 0.3875)
    expected = torch.tensor([0.7625, 0.7625 * 0.3875 / 0.6125])
    torch.testing.assert_close(strategy.thresholds(), expected)
    learner.after_step(1.0)  # a step that saw nothing moves nothing
    torch.testing.assert_close(strategy.thresholds(), expected)


def test_adaptive_thresholds_stay_between_floor_and_the_fixed_ones():
    strategy = PseudoLabel(adaptive=True, floor=0.7, threshold=0.9, decay=0.0)
    learner = pixel_learner(strategy)
    learner(crops([1e-4] * 4), 1.0)
    learner.after_step(1.0)
    torch.testing.assert_close(strategy.thresholds(), torch.tensor([0.9, 0.7]))


class ForgetsItsThresholds(PseudoLabel):
    """A mistake: the averages are plain attributes, so a resumed run begins them anew."""

    def __init__(self, **options):
        super().__init__(**options)
        for name in ("confidence", "class_probs"):
            value = getattr(self, name)
            delattr(self, name)
            setattr(self, name, value)


@pytest.mark.parametrize(
    ("strategy", "resumes"), [(PseudoLabel, True), (ForgetsItsThresholds, False)]
)
def test_thresholds_resume_with_the_same_bits(strategy, resumes):
    def make():
        return pixel_learner(strategy(adaptive=True, floor=0.0, decay=0.5))

    learner, batch = make(), crops([0.9, 0.1, 0.2, 0.2])
    learner(batch, 0.5)
    learner.after_step(0.5)
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    fresh = make()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    one, two = (net(batch, 0.5)["s/threshold_background"].value for net in (learner, fresh))
    assert torch.equal(one, two) == resumes


def warned(strategy, batch, *, steps=250, progress=1.0):
    """The warnings of some steps, without training."""
    learner = pixel_learner(strategy)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            learner(batch, progress)
            learner.after_step(progress)
    return [str(w.message) for w in caught]


COLLAPSED = [0.001] * 8
HALF = [0, 0, 0, 0, 1, 1, 1, 255]


def test_the_alarm_warns_once_of_a_collapse():
    (message,) = warned(PseudoLabel(), crops(COLLAPSED, masks=HALF))
    assert "collapsing to background" in message
    assert "0.0000%" in message
    assert "42.8571%" in message  # 3 of the 7 voxels that the mask knows
    assert "foreground_threshold" in message


@pytest.mark.parametrize(
    ("strategy", "batch", "options"),
    [
        (PseudoLabel(), crops([0.999, *COLLAPSED[1:]], masks=HALF), {}),  # it labels nodules
        (PseudoLabel(), crops(COLLAPSED, masks=HALF), {"progress": 0.1}),  # the ramp still grows
        (PseudoLabel(), crops(COLLAPSED, masks=HALF), {"steps": 99}),  # too early
        (PseudoLabel(), crops(COLLAPSED, masks=[0] * 8), {}),  # the masks hold none either
        (PseudoLabel(), crops([0.4] * 8, masks=HALF), {}),  # nothing is sure: no label at all
        (PseudoLabel(alarm_below=0.0), crops(COLLAPSED, masks=HALF), {}),
        (PseudoLabel(), crops(COLLAPSED), {}),  # no masks to compare with
    ],
)
def test_the_alarm_is_silent_otherwise(strategy, batch, options):
    assert warned(strategy, batch, **options) == []


def test_the_alarms_means_settle_and_are_saved():
    alarm = CollapseAlarm(below=0.1, horizon=4)
    for share in (1.0, 0.0, 0.0):
        alarm.record(torch.tensor(share), torch.tensor(0.0), torch.zeros(1, 1, 2, 2, 2))
        alarm.after_step(watch=False)
    assert alarm.means[0].item() == pytest.approx(1 / 3)  # a plain mean at first
    assert set(alarm.state_dict()) == {"means", "steps"}


class ThreeClasses(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return {"logits": self.scale * torch.cat([torch.zeros_like(x), x, x - 1], dim=1)}


def test_several_foreground_classes_share_a_threshold():
    learner = Learner(ThreeClasses(), {"s": PseudoLabel(foreground_threshold=0.6, adaptive=True)})
    x = torch.tensor([9.0, -9.0, 0.0]).view(1, 1, 3, 1, 1)
    terms = learner({"unlabelled": {"weak": x, "strong": x}}, 1.0)
    learner.after_step(1.0)
    assert terms["s/confident_share"].value.item() == pytest.approx(2 / 3)
    assert int(hard_labels(learner.student(x)["logits"]).max()) == 1


@pytest.mark.parametrize(
    ("options", "tasks"),
    [
        ({"labeller": "student", **QUIET}, ("segmentation", "detection")),
        (
            {"adaptive": True, "floor": 0.0, "foreground_threshold": 0.6, "average": "all"},
            ("segmentation",),
        ),
    ],
)
def test_variants_conform(options, tasks):
    check_strategy(lambda: PseudoLabel(**options), tasks=tasks)


def scans(weak, strong):
    """A step of one unlabelled crop for a `CentreNet`, in which no mask is."""
    return {"unlabelled": {"weak": weak, "strong": strong, "spacing_mm": torch.ones(1, 3)}}


@pytest.mark.parametrize("labeller", ["student", "teacher"])
def test_pseudo_label_centres_of_confident_peaks_by_hand(labeller):
    weak = peaks((2, 2, 2, 0.9), (8, 8, 8, 0.5))
    strong = peaks((2, 2, 2, 0.5), (8, 8, 8, 0.5), (12, 2, 2, 0.5), background=1e-6)
    strategy = PseudoLabel(labeller=labeller, weight=0.5, rampup=0)
    learner = Learner(CentreNet(), {"s": strategy})
    terms = learner(scans(weak, strong), 1.0)
    # 1/4 ln 2 each: the centre, and the false peak; the unsure one teaches nothing
    assert terms["s/pseudo_centres"].value.item() == pytest.approx(math.log(2) / 2, rel=1e-3)
    assert terms["s/pseudo_centres"].weight == 0.5
    assert terms["s/centres_per_crop"] == (1.0, 0.0)
    # a ball of 8 mm around a voxel's centre holds 33 voxels of 2 mm, of 512
    assert terms["s/unsure_share"].value.item() == pytest.approx(33 / 512)
    assert "s/pseudo_label" not in terms
    terms["s/pseudo_centres"].value.backward()
    slope = learner.student.outputs[-1].grad[0, 0]
    assert slope[1, 1, 1] < 0 < slope[6, 1, 1]
    assert slope[4, 4, 4] == 0
    if labeller == "student":
        assert learner.student.outputs[0].grad is None


def test_pseudo_label_thresholds_of_centres_are_options():
    weak = peaks((2, 2, 2, 0.9), (8, 8, 8, 0.5))
    strategy = PseudoLabel(centre_threshold=0.5, centre_floor=0.4)
    terms = Learner(CentreNet(), {"s": strategy})(scans(weak, weak), 1.0)
    assert terms["s/centres_per_crop"].value == 2
    assert terms["s/unsure_share"].value == 0


def test_pseudo_label_reads_masks_where_segmentation_is_a_task():
    fields = {
        tasks: Learner(tiny_student(), {"s": PseudoLabel()}, tasks=tasks).fields()
        for tasks in (("segmentation",), ("detection",), ("segmentation", "detection"))
    }
    assert list(fields.values()) == [("mask",), ("spacing_mm",), ("mask", "spacing_mm")]


def test_pseudo_label_alarm_is_silent_without_masks():
    strategy = PseudoLabel(rampup=0)
    learner = Learner(CentreNet(), {"s": strategy})
    learner({**scans(peaks(), peaks()), "labelled": {}}, 1.0)
    learner.after_step(1.0)
    assert strategy.alarm.steps == 0


@pytest.mark.parametrize(
    "options",
    [
        *({"labeller": "oracle"}, {"threshold": 1.5}, {"foreground_threshold": -1.0}),
        *({"decay": 1.0}, {"centre_threshold": 0.05}, {"centre_threshold": 1.1}),
        {"centre_floor": 0.0},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UserError, match="pseudo_label"):
        build_strategy("pseudo_label", options)
