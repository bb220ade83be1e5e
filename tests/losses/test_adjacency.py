"""Soft adjacency: golden values, the published einsum, its gradient, and its memory."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_inputs import extremes, gradient, random_logits
from torch.autograd import gradcheck, gradgradcheck
from torch.profiler import ProfilerActivity, profile

from semilung.losses import non_adjacency_loss, probabilities, soft_adjacency

SIZES = st.sampled_from([(1, 1), (4, 3), (9, 2), (17, 5), (1, 3, 4), (3, 4, 2), (10, 3, 3)])


def corner_map(dims):
    """Halves of 4^dims voxels are classes 0 and 1 along the last axis, the last voxel is 2."""
    labels = torch.zeros([4] * dims, dtype=torch.long)
    labels[..., 2:] = 1
    labels.view(-1)[-1] = 2
    return F.one_hot(labels, 3).movedim(-1, 0)[None].double()


def original(probs):
    """The adjacency of Ganaye et al., MICCAI 2018: box filter of the zero-padded map, einsum.

    Published for 2D as 'nihw,njhw->ij'; for 3D the box has 27 voxels.
    """
    channels, dims = probs.shape[1], probs.ndim - 2
    box = torch.ones((channels, 1, *[3] * dims), dtype=probs.dtype) / 3**dims
    convolve = F.conv2d if dims == 2 else F.conv3d
    around = convolve(F.pad(probs, [1, 1] * dims), box, groups=channels)
    voxels = probs.shape[0] * probs[0, 0].numel()
    return torch.einsum("nix,njx->ij", probs.flatten(2), around.flatten(2)) / voxels


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        (2, [[40, 10, 0], [10, 33, 3], [0, 3, 1]]),
        (3, [[400, 100, 0], [100, 385, 7], [0, 7, 1]]),
    ],
)
def test_golden(dims, expected):
    pairs = soft_adjacency(corner_map(dims)) * 3**dims * 4**dims
    torch.testing.assert_close(pairs, torch.tensor(expected).double())


def test_golden_uniform():
    # Of 4 x 4 voxels, 4 see 9 neighbours, 8 see 6, 4 see 4: 100 / 144 of the pairs lie inside.
    adjacency = soft_adjacency(torch.full((1, 3, 4, 4), 1 / 3))
    torch.testing.assert_close(adjacency, torch.full((3, 3), 100 / 144 / 9))
    assert adjacency[0, 1].item() == pytest.approx(0.0771605)


@given(st.integers(0, 50), st.sampled_from([2, 5]), SIZES)
@settings(max_examples=40, deadline=None)
def test_is_the_published_adjacency_and_so_is_its_gradient(seed, channels, size):
    ours = probabilities(random_logits(channels, seed, size=size)).requires_grad_()
    oracle = ours.detach().clone().requires_grad_()
    weight = random_logits(1, seed, batch=channels, size=(channels,))[:, 0]
    torch.testing.assert_close(soft_adjacency(ours), original(oracle))
    expected = gradient((weight * original(oracle)).sum(), oracle)
    torch.testing.assert_close(gradient((weight * soft_adjacency(ours)).sum(), ours), expected)


@given(st.integers(0, 50), SIZES)
@settings(max_examples=20, deadline=None)
def test_symmetric_and_a_mean_over_samples(seed, size):
    probs = probabilities(random_logits(3, seed, batch=3, size=size))
    adjacency = soft_adjacency(probs)
    torch.testing.assert_close(adjacency, adjacency.T)
    singles = torch.stack([soft_adjacency(probs[b : b + 1]) for b in range(3)])
    torch.testing.assert_close(adjacency, singles.mean(0))


def test_axes_and_classes_can_be_swapped():
    probs = probabilities(random_logits(3, size=(5, 4, 6)))
    turned = soft_adjacency(probs.permute(0, 1, 4, 2, 3))
    torch.testing.assert_close(turned, soft_adjacency(probs))
    order = [2, 0, 1]
    torch.testing.assert_close(soft_adjacency(probs[:, order]), turned[order][:, order])


def test_one_channel_is_background_and_foreground():
    probs = probabilities(random_logits(1))
    both = torch.cat([1 - probs, probs], dim=1)
    torch.testing.assert_close(soft_adjacency(probs), soft_adjacency(both))


@pytest.mark.parametrize("size", [(3, 4), (3, 2, 2)])
def test_gradcheck(size):
    probs = probabilities(random_logits(3, size=size)).requires_grad_()
    assert gradcheck(soft_adjacency, (probs,))
    assert gradgradcheck(soft_adjacency, (probs,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_in_float32(dtype):
    # One class in 300 x 300 voxels: 9 * 90000 pairs, less those beyond the border.
    probs = torch.zeros(1, 2, 300, 300, dtype=dtype)
    probs[:, 0] = 1
    adjacency = soft_adjacency(probs.requires_grad_())
    assert adjacency.dtype == torch.float32
    assert adjacency[0, 0].item() == pytest.approx(((3 * 300 - 2) / 900) ** 2)
    assert gradient(adjacency.sum(), probs).dtype == dtype


def test_autocast_changes_nothing():
    probs = probabilities(random_logits(3)).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(soft_adjacency(probs), original(probs.double()).float())


def test_extreme_logits():
    logits = extremes(torch.float16, 3).requires_grad_()
    loss = non_adjacency_loss(probabilities(logits), torch.eye(3) == 0)
    assert loss.isfinite()
    assert gradient(loss, logits).isfinite().all()


def peak_bytes(step):
    """Peak of the bytes allocated, less those freed, since the start of `step`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        step()
    live = peak = 0
    events = trace.profiler.kineto_results.events()
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


@pytest.mark.parametrize("shape", [(1, 8, 48, 48, 48), (2, 12, 32, 32, 32), (1, 16, 128, 128)])
def test_memory_is_about_one_activation(shape):
    probs = torch.rand(shape, requires_grad=True)
    activation = probs.numel() * probs.element_size()
    assert peak_bytes(lambda: soft_adjacency(probs.detach())) < 0.5 * activation
    both = peak_bytes(lambda: gradient(soft_adjacency(probs).sum(), probs))
    assert activation <= both < 1.5 * activation  # the gradient is one of its own
    published = peak_bytes(lambda: gradient(original(probs).sum(), probs))
    assert both < published / 2


class TestNonAdjacency:
    def test_golden(self):
        # Classes 0 and 2 do not touch, 1 and 2 do, 7 pairs of 27 * 64 seen from either side.
        forbidden = torch.zeros(3, 3, dtype=torch.bool)
        forbidden[0, 2] = forbidden[2, 0] = True
        assert non_adjacency_loss(corner_map(3), forbidden).item() == 0
        forbidden[1, 2] = forbidden[2, 1] = True
        expected = (0 + 0 + 7 + 7) / 4 / (27 * 64)
        assert non_adjacency_loss(corner_map(3), forbidden).item() == pytest.approx(expected)

    @given(st.integers(0, 50), st.sampled_from([(4, 5), (3, 4, 2)]))
    @settings(max_examples=20, deadline=None)
    def test_is_the_published_loss(self, seed, size):
        probs = probabilities(random_logits(4, seed, size=size))
        generator = torch.Generator().manual_seed(seed)
        forbidden = torch.rand(4, 4, generator=generator) > 0.5
        forbidden[0, 1] = True
        expected = (forbidden * original(probs)).sum() / (forbidden > 0).sum()
        torch.testing.assert_close(non_adjacency_loss(probs, forbidden), expected)

    def test_a_step_down_the_gradient_parts_the_classes(self):
        logits = random_logits(3, size=(6, 6)).requires_grad_()
        forbidden = torch.tensor([[0, 0, 1], [0, 0, 0], [1, 0, 0]]).bool()
        loss = non_adjacency_loss(probabilities(logits), forbidden)
        after = non_adjacency_loss(probabilities(logits - 500 * gradient(loss, logits)), forbidden)
        assert after < 0.9 * loss

    def test_doubt_between_forbidden_classes_in_one_voxel_is_contact(self):
        forbidden = torch.tensor([[False, True], [True, False]])
        assert non_adjacency_loss(torch.full((1, 1, 1, 1), 0.5), forbidden) > 0
        assert non_adjacency_loss(torch.ones(1, 1, 1, 1), forbidden) == 0

    def test_refuses_where_nothing_is_forbidden(self):
        with pytest.raises(ValueError, match="no pair"):
            non_adjacency_loss(torch.rand(1, 3, 4, 4), torch.zeros(3, 3, dtype=torch.bool))

    def test_refuses_pairs_of_other_classes(self):
        with pytest.raises(ValueError, match="3 classes"):
            non_adjacency_loss(torch.rand(1, 3, 4, 4), torch.ones(2, 2, dtype=torch.bool))
