"""Bags: the poolings by closed form, padded and empty bags, extremes, a thousand instances."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_inputs import gradient
from torch.autograd import gradcheck

from semilung.losses import bag_loss, pool_instances

POOLINGS = ["top_k", "log_sum_exp", "noisy_or", "mean", "max"]
OPTIONS = [{"pooling": name} for name in POOLINGS]
OPTIONS += [{"pooling": "noisy_or", "k": None}, {"pooling": "noisy_or", "leak": 0.0}]
OPTIONS += [{"pooling": "top_k", "k": 2}, {"pooling": "log_sum_exp", "temperature": 2.0}]
every_pooling = pytest.mark.parametrize("options", OPTIONS, ids=str)


def random_bags(seed=0, bags=3, instances=7, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(bags, instances, generator=generator, dtype=torch.float64)


def noisy_or(logits, leak):
    """1 - (1 - leak) prod(1 - p), as it is written."""
    return 1 - (1 - leak) * (1 - torch.sigmoid(logits)).prod(dim=1)


class TestPooling:
    def test_golden(self):
        bag = torch.tensor([[1.0, 5, 3, -3]])
        assert pool_instances(bag, pooling="top_k", k=2).item() == 4
        assert pool_instances(bag, pooling="top_k", k=9).item() == 1.5
        assert pool_instances(bag, pooling="mean").item() == 1.5
        assert pool_instances(bag, pooling="max").item() == 5
        expected = 2 * math.log(sum(math.exp(s / 2) for s in (1, 5, 3, -3)) / 4)
        pooled = pool_instances(bag, pooling="log_sum_exp", temperature=2.0)
        assert pooled.item() == pytest.approx(expected)

    @given(st.integers(0, 99), st.sampled_from([0.0, 0.01, 0.5]))
    @settings(max_examples=30, deadline=None)
    def test_noisy_or_is_its_closed_form(self, seed, leak):
        logits = random_bags(seed)
        pooled = pool_instances(logits, pooling="noisy_or", k=None, leak=leak)
        torch.testing.assert_close(torch.sigmoid(pooled), noisy_or(logits, leak))
        pooled = pool_instances(logits, pooling="noisy_or", k=3, leak=leak)
        largest = logits.sort(dim=1).values[:, -3:]
        torch.testing.assert_close(torch.sigmoid(pooled), noisy_or(largest, leak))

    @given(st.integers(0, 99))
    @settings(max_examples=20, deadline=None)
    def test_log_sum_exp_lies_between_mean_and_maximum(self, seed):
        logits = random_bags(seed)
        at = {
            t: pool_instances(logits, pooling="log_sum_exp", temperature=t) for t in (1e-3, 1, 1e6)
        }
        torch.testing.assert_close(at[1e-3], logits.amax(1), atol=3e-3, rtol=0)
        torch.testing.assert_close(at[1e6], logits.mean(1), atol=1e-4, rtol=0)
        assert (at[1] >= logits.mean(1)).all()
        assert (at[1] <= logits.amax(1)).all()

    @every_pooling
    @given(seed=st.integers(0, 99))
    @settings(max_examples=15, deadline=None)
    def test_order_does_not_count_and_more_evidence_never_lowers(self, options, seed):
        logits = random_bags(seed)
        order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
        pooled = pool_instances(logits, **options)
        torch.testing.assert_close(pool_instances(logits[:, order], **options), pooled)
        raised = logits.clone()
        raised[:, seed % 7] += 1
        assert (pool_instances(raised, **options) >= pooled - 1e-12).all()

    @every_pooling
    @given(seed=st.integers(0, 99))
    @settings(max_examples=15, deadline=None)
    def test_mask_is_dropping(self, options, seed):
        logits = random_bags(seed)
        mask = torch.rand(3, 7, generator=torch.Generator().manual_seed(seed)) > 0.6
        mask[:, 2] = True
        singles = [pool_instances(logits[b : b + 1, mask[b]], **options) for b in range(3)]
        hidden = torch.where(mask, logits, torch.nan)
        torch.testing.assert_close(pool_instances(hidden, mask=mask, **options), torch.cat(singles))

    @pytest.mark.parametrize("pooling", ["mean", "max", "top_k", "log_sum_exp"])
    def test_equal_instances_pool_to_themselves(self, pooling):
        pooled = pool_instances(torch.full((1, 50), -1.5), pooling=pooling)
        assert pooled.item() == pytest.approx(-1.5, abs=1e-5)

    def test_one_instance_without_leak_is_itself(self):
        logits = torch.linspace(-40, 40, 33, dtype=torch.float64)[:, None]
        pooled = pool_instances(logits, pooling="noisy_or", leak=0.0)
        torch.testing.assert_close(pooled, logits[:, 0])

    @every_pooling
    def test_gradcheck(self, options):
        mask = torch.tensor([[True] * 7, [True] * 3 + [False] * 4, [False] * 7])
        logits = random_bags().requires_grad_()
        assert gradcheck(lambda x: pool_instances(x, mask=mask, **options), (logits,))

    def test_gradcheck_far_out(self):
        for scale in (20.0, 60.0):
            logits = random_bags(scale=scale).requires_grad_()
            for leak in (0.0, 0.01):
                options = {"pooling": "noisy_or", "k": None, "leak": leak}
                assert gradcheck(lambda x, o=options: pool_instances(x, **o), (logits,))

    @every_pooling
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    @pytest.mark.parametrize("value", [-1e4, -20.0, 20.0, 1e4])
    def test_extremes(self, options, dtype, value):
        logits = torch.full((2, 40), value, dtype=dtype)
        logits[1, 0] = -value
        logits.requires_grad_()
        pooled = pool_instances(logits, **options)
        assert pooled.isfinite().all()
        slopes = gradient(pooled.sum(), logits)
        assert slopes.isfinite().all()
        leaky = options["pooling"] == "noisy_or" and options.get("leak") != 0
        assert leaky or (slopes.abs().sum(1) > 0).all()

    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_no_instances_at_all(self, pooling):
        logits = torch.zeros(2, 0, requires_grad=True)
        pooled = pool_instances(logits, pooling=pooling)
        assert pooled.tolist() == [0, 0]
        assert gradient(pooled.sum(), logits).shape == (2, 0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"pooling": "attention"}, "top_k, log_sum_exp"),
            ({"k": 0}, "k must"),
            ({"temperature": 0}, "temperature"),
            ({"leak": 1.0}, "leak"),
            ({"mask": torch.ones(3, dtype=torch.bool)}, "does not match"),
        ],
    )
    def test_refuses(self, options, message):
        with pytest.raises(ValueError, match=message):
            pool_instances(torch.zeros(2, 3), **options)
        with pytest.raises(ValueError, match=r"\(B, N\)"):
            pool_instances(torch.zeros(2))


class TestThousandInstances:
    def test_low_ones_stay_calibrated(self):
        # 1 - 0.99 (1 - s(-6))^1000 = 0.9164
        logits = torch.full((1, 1000), -6.0, requires_grad=True)
        pooled = pool_instances(logits, pooling="noisy_or", k=None)
        expected = 1 - 0.99 * (1 + math.exp(-6)) ** -1000
        assert torch.sigmoid(pooled).item() == pytest.approx(expected, rel=1e-5)
        for label in (0, 1):
            options = {"pooling": "noisy_or", "k": None}
            slope = gradient(bag_loss(logits, torch.tensor([label]), **options), logits)
            assert slope.isfinite().all()
            assert (slope.abs() > 1e-6).all()

    def test_very_low_ones_do_not_underflow(self):
        logits = torch.full((1, 1000), -200.0, requires_grad=True)
        pooled = pool_instances(logits, pooling="noisy_or", k=None, leak=0.0)
        assert pooled.item() == pytest.approx(-200 + math.log(1000), abs=1e-3)
        assert gradient(pooled.sum(), logits).sum().item() == pytest.approx(1, abs=1e-3)

    def test_moderate_ones_saturate_without_k_and_not_with_it(self):
        logits = torch.full((1, 1000), math.log(0.02 / 0.98))
        everyone = pool_instances(logits, pooling="noisy_or", k=None)
        likeliest = pool_instances(logits, pooling="noisy_or")
        assert torch.sigmoid(everyone).item() > 1 - 1e-6
        assert torch.sigmoid(likeliest).item() == pytest.approx(1 - 0.99 * 0.98**5, rel=1e-5)

    def test_one_positive_among_them_is_found(self):
        logits = torch.full((1, 1000), -4.0)
        logits[0, 17] = 4
        pooled = {name: pool_instances(logits, pooling=name).item() for name in POOLINGS}
        assert pooled["max"] == 4
        assert pooled["noisy_or"] > 3.5
        assert 2 < pooled["log_sum_exp"] < 4
        assert pooled["mean"] < -3.9


class TestBagLoss:
    def test_golden(self):
        logits = torch.tensor([[0.0, -3], [2, 1]])
        loss = bag_loss(logits, torch.tensor([1, 0]), pooling="max")
        assert loss.item() == pytest.approx((math.log(2) + math.log1p(math.exp(2))) / 2)

    @every_pooling
    def test_is_the_cross_entropy_of_the_pooled_logits_and_a_mean_over_bags(self, options):
        logits, label = random_bags(), torch.tensor([1.0, 0, 0.3], dtype=torch.float64)
        pooled = pool_instances(logits, **options)
        loss = bag_loss(logits, label, **options)
        torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(pooled, label))
        singles = [bag_loss(logits[b : b + 1], label[b : b + 1], **options) for b in range(3)]
        torch.testing.assert_close(loss, torch.stack(singles).mean())

    @every_pooling
    def test_masked_instances_are_as_if_left_out(self, options):
        logits, label = random_bags(), torch.tensor([1, 0, 1])
        mask = torch.arange(7) < torch.tensor([[7], [4], [2]])
        padded = bag_loss(torch.where(mask, logits, 50.0), label, mask=mask, **options)
        singles = [
            bag_loss(logits[b : b + 1, mask[b]], label[b : b + 1], **options) for b in range(3)
        ]
        torch.testing.assert_close(padded, torch.stack(singles).mean())

    @every_pooling
    @pytest.mark.parametrize("label", [0, 1])
    def test_an_empty_bag_adds_nothing(self, options, label):
        logits = random_bags(bags=2).requires_grad_()
        mask = torch.tensor([[True] * 7, [False] * 7])
        loss = bag_loss(logits, torch.tensor([1, label]), mask=mask, **options)
        alone = bag_loss(logits[:1], torch.tensor([1]), **options)
        torch.testing.assert_close(loss, alone / 2)
        slope = gradient(loss, logits)
        assert slope[0].abs().sum() > 0
        assert slope[1].abs().sum() == 0
        nobody = bag_loss(logits, torch.tensor([1, label]), mask=torch.zeros_like(mask), **options)
        assert nobody.item() == 0
        assert gradient(nobody, logits).abs().sum() == 0

    @every_pooling
    def test_an_empty_bag_passes_anomaly_detection(self, options):
        logits, mask = random_bags().requires_grad_(), torch.zeros(3, 7, dtype=torch.bool)
        mask[0, :2] = True
        with torch.autograd.set_detect_anomaly(True):
            loss = bag_loss(logits, torch.ones(3), mask=mask, **options)
            assert gradient(loss, logits).isfinite().all()

    @every_pooling
    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float16])
    def test_labels_of_any_type(self, options, dtype):
        logits, label = random_bags(bags=2).float(), torch.tensor([1, 0])
        expected = bag_loss(logits, label, **options)
        assert bag_loss(logits, label.to(dtype), **options) == expected

    @every_pooling
    @pytest.mark.parametrize("value", [-1e4, 1e4])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_extremes(self, options, value, dtype):
        logits = torch.full((2, 30), value, dtype=dtype, requires_grad=True)
        loss = bag_loss(logits, torch.tensor([0, 1]), **options)
        assert loss.isfinite()
        assert gradient(loss, logits).isfinite().all()

    def test_refuses_other_labels(self):
        with pytest.raises(ValueError, match="is not"):
            bag_loss(torch.zeros(2, 3), torch.zeros(2, 1))
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            bag_loss(torch.zeros(2, 3), torch.tensor([0, 255]))
