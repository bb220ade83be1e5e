"""Multiple-instance learning: chunks, masks, poolings, both heads, metrics and cohorts."""

import math
import warnings
from pathlib import Path

import pytest
import torch

from semilung.data import Case
from semilung.strategies import Learner
from semilung.strategies.mil.bag_cohorts import require_both_labels, warn_of_predictive_cohorts
from semilung.strategies.mil.instances import describe_bags, top_voxels
from semilung.strategies.mil.multiple_instance import MIL
from semilung.testing import check_strategy, tiny_batch, tiny_learner, tiny_student
from semilung.testing.problem import TinyCase, within
from semilung.types import UserError

POOLINGS = ("top_k", "log_sum_exp", "noisy_or", "attention")


def bags(learner, batch, progress=1.0, seed=0):
    torch.manual_seed(seed)
    return {name.split("/")[1]: term for name, term in learner(batch, progress).items()}


def total(terms):
    return sum(term.weight * term.value for term in terms.values())


def learner_of(*tasks, **options):
    torch.manual_seed(5)
    return tiny_learner(within(lambda: MIL(**options), tasks or ["segmentation"]))


def gradients(learner, batch):
    parameters = list(learner.parameters())
    result = torch.autograd.grad(total(bags(learner, batch)), parameters, allow_unused=True)
    return [
        torch.zeros_like(p) if g is None else g for p, g in zip(parameters, result, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["noisy_or", "attention"])
def test_other_poolings_conform_in_chunks(pooling):
    check_strategy(lambda: MIL(pooling=pooling, chunk=2), tasks=("segmentation",))


@pytest.mark.parametrize(
    ("pooling", "backend"), [*((pooling, "fused") for pooling in POOLINGS), ("top_k", "plain")]
)
def test_chunks_give_the_values_and_gradients_of_the_whole(pooling, backend):
    learner = learner_of(pooling=pooling).double()
    for module in learner.student.modules():
        if hasattr(module, "backend"):
            module.backend = backend
    strategy = learner.strategies["checked"]
    batch = {s: {**b, "bag": b["bag"].double()} for s, b in tiny_batch(strategy).items()}
    results = []
    for chunk in (4, 100):  # 15 real crops: an uneven split, and all at once
        strategy.chunk = chunk
        results.append(
            ([t.value for t in bags(learner, batch).values()], gradients(learner, batch))
        )
    for values, slopes in results[:-1]:
        torch.testing.assert_close(values, results[-1][0], rtol=1e-5, atol=0)
        one, other = (torch.cat([g.flatten() for g in s]) for s in (slopes, results[-1][1]))
        assert (one - other).norm() <= 1e-5 * other.norm()
    assert max(float(g.abs().max()) for g in results[-1][1]) > 1e-3


def test_chunks_keep_one_chunks_activations():
    """What forward keeps for backward grows with the chunk, not with the bag."""
    stored = {}
    student = tiny_student(heads={"embedding": 4})
    crops, real = torch.randn(1, 12, 1, 8, 8, 8), torch.ones(1, 12, dtype=torch.bool)
    for chunk in (3, 100):
        sizes = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: (sizes.append(t.numel()), t)[1], lambda t: t
        )
        with hooks:
            describe_bags(student, [(crops, real)], chunk=chunk, voxel_share=0.1)
        stored[chunk] = sum(sizes)
    # inside a checkpoint nothing is saved: what is left is the joining of the chunks
    assert stored[3] < 0.05 * stored[100]


def test_padding_is_not_computed_and_changes_nothing():
    learner = learner_of(chunk=4)
    batch = tiny_batch(learner.strategies["checked"])
    counts = []
    learner.student.register_forward_hook(
        lambda module, inputs, output: counts.append(len(inputs[0]))
    )
    before = total(bags(learner, batch))
    real = sum(int(samples["bag_mask"].sum()) for samples in batch.values())
    assert sum(counts) == real < 18
    for samples in batch.values():
        samples["bag"][~samples["bag_mask"]] = math.nan
    assert torch.equal(total(bags(learner, batch)), before)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_bag_smaller_than_k_and_an_empty_one_work(pooling):
    learner = learner_of(pooling=pooling, k=7, chunk=4)
    batch = tiny_batch(learner.strategies["checked"])
    batch["healthy"]["bag_mask"][0] = False
    terms = bags(learner, batch)
    assert all(term.value.isfinite() for term in terms.values())
    assert all(g.isfinite().all() for g in gradients(learner, batch))
    # the empty bag adds nothing: another label of it gives the same
    batch["healthy"]["bag_label"][0] = 1
    changed = bags(learner, batch)
    assert torch.equal(changed["bag"].value, terms["bag"].value)
    assert torch.equal(changed["voxels"].value, terms["voxels"].value)
    for samples in batch.values():
        samples["bag_mask"][:] = False
    nothing = bags(learner, batch)
    assert nothing["bag"].value == 0
    assert nothing["voxels"].value == 0


def test_streams_with_bags_of_different_sizes_are_one_mean_over_bags():
    learner = learner_of(pooling="noisy_or")
    batch = tiny_batch(learner.strategies["checked"])
    batch["weak"]["bag"] = batch["weak"]["bag"][:, :2]
    batch["weak"]["bag_mask"] = batch["weak"]["bag_mask"][:, :2]
    together = bags(learner, batch)["bag"].value
    alone = [bags(learner, {s: batch[s]})["bag"].value for s in batch]
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_the_label_of_the_first_bags_counts_where_a_batch_has_more_samples():
    learner = learner_of()
    batch = tiny_batch(learner.strategies["checked"])
    batch["weak"] |= {name: batch["weak"][name][:1] for name in ("bag", "bag_mask")}
    batch["weak"]["bag_label"] = torch.tensor([1, 0])
    one = total(bags(learner, batch))
    batch["weak"]["bag_label"] = torch.tensor([1, 1])
    assert torch.equal(total(bags(learner, batch)), one)
    batch["weak"]["bag_label"] = torch.tensor([0, 1])
    assert not torch.equal(total(bags(learner, batch)), one)


def scripted(logits, embedding):
    """A student that says the same of a crop as the crop's first voxel says."""

    class Student(torch.nn.Module):
        def forward(self, x):
            number = x[:, 0, 0, 0, 0].long()
            shape = (len(x), 1, 2, 2, 2)
            return {
                "logits": logits[number].view(-1, 1, 1, 1, 1).expand(shape),
                "embedding": embedding[number].view(-1, 1, 1, 1, 1).expand(shape),
            }

    return Student()


def test_values_by_hand():
    strategy = MIL(width=1, pooling="top_k", k=2, weight=1, voxel_weight=2, rampup=0)
    strategy.scorer.weight.data = torch.tensor([[1.0, 0.0]])
    strategy.scorer.bias.data = torch.tensor([0.5])
    voxel_logits, embedding = torch.tensor([3.0, -1, 1]), torch.tensor([0.0, 2, -4])
    learner = Learner(scripted(voxel_logits, embedding), {"checked": strategy})
    crops = torch.arange(3.0).view(1, 3, 1, 1, 1, 1).expand(1, 3, 1, 2, 2, 2)
    here = torch.tensor([[True, True, True]])
    batch = {"weak": {"bag": crops, "bag_mask": here, "bag_label": torch.tensor([1])}}
    terms = bags(learner, batch)
    # instance scores 0.5, 2.5, -3.5: the two largest are 1.5 on average; of the voxels 3 and 1: 2
    assert terms["bag"].value.item() == pytest.approx(math.log1p(math.exp(-1.5)), abs=1e-6)
    assert terms["voxels"].value.item() == pytest.approx(math.log1p(math.exp(-2)), abs=1e-6)
    assert (terms["bag"].weight, terms["voxels"].weight) == (1, 2)
    assert terms["p_positive"].value.item() == pytest.approx(1 / (1 + math.exp(-1.5)), abs=1e-6)
    assert "p_negative" not in terms
    batch["weak"]["bag_label"][0] = 0
    terms = bags(learner, batch)
    assert terms["voxels"].value.item() == pytest.approx(math.log1p(math.exp(2)), abs=1e-6)
    assert "p_positive" not in terms


def test_an_embedding_is_mean_and_maximum_over_space():
    def student(crops):
        return {"logits": crops, "embedding": crops}

    crop = torch.tensor([5.0, 1, 1, 1, 0, 0, 0, 0]).view(1, 1, 1, 2, 2, 2)
    here = torch.ones(1, 1, dtype=torch.bool)
    result = describe_bags(student, [(crop, here)], chunk=8, voxel_share=0.1)
    assert result.embeddings.tolist() == [[[1.0, 5.0]]]


def test_padding_is_not_pooled():
    strategy = MIL(width=1, pooling="top_k", k=2, rampup=0)
    logits = torch.tensor([-3.0, -1])
    learner = Learner(scripted(logits, torch.zeros(2)), {"checked": strategy})
    crops = torch.tensor([0.0, 1, 0]).view(1, 3, 1, 1, 1, 1).expand(1, 3, 1, 2, 2, 2)
    here = torch.tensor([[True, True, False]])
    batch = {"weak": {"bag": crops, "bag_mask": here, "bag_label": torch.tensor([1])}}
    # -2 is the mean of the two crops there are; a zero for the third would be the largest
    expected = math.log1p(math.exp(2))
    assert bags(learner, batch)["voxels"].value.item() == pytest.approx(expected, abs=1e-6)


def test_the_voxel_term_teaches_the_voxel_head_and_can_be_switched_off():
    on, off = learner_of(voxel_weight=0.5), learner_of(voxel_weight=0.0)
    batch = tiny_batch(on.strategies["checked"])
    head = on.student.backbone.head[-1].weight
    (slope,) = torch.autograd.grad(bags(on, batch)["voxels"].value, [head])
    assert slope.abs().sum() > 0
    terms = bags(off, batch)
    assert "voxels" not in terms
    head = off.student.backbone.head[-1].weight
    (slope,) = torch.autograd.grad(total(terms), [head], allow_unused=True)
    assert slope is None


def test_top_voxels_of_several_classes_are_each_crops_own():
    # The odds of the foreground are ln(e^a + e^b) - c; the larger voxel of two counts.
    logits = torch.tensor(
        [[[0.0, 1.0], [2.0, 1.0], [2.0, 1.0]], [[0.0, 5.0], [-1.0, 0.0], [-1.0, 0.0]]]
    ).view(2, 3, 2, 1, 1)
    expected = [2 + math.log(2), -1 + math.log(2)]
    assert top_voxels(logits, 0.5).tolist() == pytest.approx(expected)
    assert top_voxels(logits[1:], 0.5).tolist() == pytest.approx(expected[1:])


def test_a_healthy_bag_lowers_its_highest_voxels_and_a_positive_one_raises_them():
    logits = torch.zeros(1, 1, 4, 4, 4)
    logits[0, 0, 1, 1, 1] = 3
    assert top_voxels(logits, 1 / 64).item() == 3
    assert top_voxels(logits, 1e-9).item() == 3  # at least one voxel
    assert top_voxels(logits, 2 / 64).item() == 1.5
    two = torch.cat([-logits, logits], dim=1)
    assert top_voxels(two, 1 / 64).item() == 6
    learner = learner_of()
    batch = tiny_batch(learner.strategies["checked"])
    for stream, sign in (("healthy", 1), ("weak", -1)):
        term = bags(learner, {stream: batch[stream]})["voxels"].value
        (slope,) = torch.autograd.grad(term, [learner.student.backbone.head[-1].bias])
        assert sign * slope.item() > 0


def test_attention_cannot_ignore_a_false_positive():
    """The voxel term gives attention no gradient."""
    learner = learner_of(pooling="attention")
    batch = tiny_batch(learner.strategies["checked"])
    attention = list(learner.strategies["checked"].attention.parameters())
    voxels = torch.autograd.grad(bags(learner, batch)["voxels"].value, attention, allow_unused=True)
    assert all(slope is None for slope in voxels)
    bag = torch.autograd.grad(bags(learner, batch)["bag"].value, attention)
    assert sum(slope.abs().sum() for slope in bag) > 0


def test_weights_ramp_up():
    learner = learner_of(weight=2.0, voxel_weight=1.0, rampup=0.5)
    batch = tiny_batch(learner.strategies["checked"])
    weights = [bags(learner, batch, t)["bag"].weight for t in (0.0, 0.25, 0.5, 1.0)]
    assert weights == pytest.approx([2 * math.exp(-5), 2 * math.exp(-1.25), 2, 2])
    assert bags(learner, batch, 0.0)["voxels"].weight == pytest.approx(math.exp(-5))


def test_the_base_rate_is_what_a_blind_guess_reaches():
    learner = learner_of()
    batch = tiny_batch(learner.strategies["checked"])  # 4 positive bags of 6
    for stream in batch.values():  # labels alone count: one small crop a bag
        stream["bag"] = stream["bag"][:, :1, :, :8, :8, :8]
        stream["bag_mask"] = stream["bag_mask"][:, :1]
    for _ in range(200):
        term = bags(learner, batch)["base_rate"]
        learner.after_step(1.0)
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert term.value.item() == pytest.approx(entropy, abs=1e-3)
    assert term.weight == 0
    assert learner.state_dict()["strategies.checked.counts"].tolist() == [400, 800]


def case(role, label, cohort):
    row = Case("x", "x", Path("x"), role, bag_label=label, cohort=cohort)
    return TinyCase(row, {"image": Path("x")})


def test_bags_of_one_label_or_none_at_all_are_refused():
    strategy = MIL()
    weak, healthy = case("weak", 1, "a"), case("healthy", None, "a")
    strategy.before_training({"weak": [weak], "healthy": [healthy], "unlabelled": []})
    with pytest.raises(UserError, match=r"no negative one.*data\.batch"):
        strategy.before_training({"weak": [weak, weak]})
    with pytest.raises(UserError, match="no positive one"):
        strategy.before_training({"healthy": [healthy]})
    with pytest.raises(UserError, match="there are none"):
        strategy.before_training({"unlabelled": [weak]})
    with pytest.raises(UserError, match="there are none"):
        require_both_labels({})


@pytest.mark.parametrize(
    ("positive", "negative", "warns"),
    [
        ("a", "b", True),
        ("ab", "cd", True),
        ("ab", "a", True),  # every negative from one cohort
        ("a", "ab", True),
        ("a", "a", False),
        ("ab", "ab", False),
        ("abc", "bcd", False),
    ],
)
def test_cohorts_that_predict_the_label_are_named(positive, negative, warns):
    streams = {
        "weak": [case("weak", 1, c) for c in positive],
        "healthy": [case("healthy", None, c) for c in negative],
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_predictive_cohorts(streams)
    assert bool(caught) == warns
    for name in positive + negative if warns else "":
        assert f"'{name}'" in str(caught[0].message)


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "max_pool"},
        {"k": 0},
        {"chunk": 0},
        {"width": 0},
        {"temperature": 0.0},
        {"leak": 1.0},
        {"voxel_share": 0.0},
        {"voxel_share": 1.5},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        MIL(**options)
