"""Foreign patches: blending, the target share, and shapes."""

import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from semilung.strategies import Learner, build_strategy
from semilung.strategies.anomaly.foreign_patch_head import Anomaly
from semilung.strategies.anomaly.foreign_patches import foreign, interpolated, poisson, random_shape
from semilung.testing import check_strategy, tiny_batch, tiny_student
from semilung.types import UserError


def crops(count=2, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, size, size, size, generator=generator)


@pytest.mark.parametrize("seed", range(4))
def test_interpolation_takes_the_targets_share_of_the_next_crop(seed):
    images = crops()
    torch.manual_seed(seed)
    blended, target = Anomaly(blend="interpolate").blend_patches(images)
    other = images.roll(1, dims=0)
    torch.testing.assert_close(blended, images + target * (other - images))
    assert torch.equal(blended[target == 0], images[target == 0])
    assert target.min() == 0
    assert target.max() <= 1


def test_alpha_is_the_targets_height():
    torch.manual_seed(0)
    for blend in ("interpolate", "poisson"):
        for alpha in (0.3, 1.0):
            _, target = Anomaly(blend=blend, alpha=(alpha, alpha), size=(0.25, 0.3)).blend_patches(
                crops(4)
            )
            assert target.amax() == pytest.approx(alpha, abs=0.01)


def test_shapes_are_within_their_sizes_soft_and_somewhere_else_each_time():
    torch.manual_seed(0)
    shapes = random_shape(crops(30, 24), (0.15, 0.2))
    volumes = (shapes >= 0.5).flatten(1).sum(1)
    assert volumes.max() <= 8 * (0.2 * 24 * 1.5) ** 3
    assert volumes.min() > 0
    soft = (shapes > 0.1) & (shapes < 0.9)
    assert soft.flatten(1).any(1).all()
    assert (shapes >= 0.5).any(0).float().mean() > 0.3


def direct(x, y, inside, alpha):
    """The Poisson equation as a matrix, edge by edge: the oracle."""
    number = {tuple(v): i for i, v in enumerate(inside.nonzero().tolist())}
    matrix, right = lil_matrix((len(number), len(number))), torch.zeros(len(number))
    for voxel, i in number.items():
        for axis in range(3):
            for step in (-1, 1):
                near = list(voxel)
                near[axis] += step
                near = tuple(near)
                matrix[i, i] += 1
                dx, dy = (1 - alpha) * (x[voxel] - x[near]), alpha * (y[voxel] - y[near])
                right[i] += dx if abs(dx) > abs(dy) else dy
                if near in number:
                    matrix[i, number[near]] -= 1
                else:
                    right[i] += x[near]
    out = x.clone()
    out[inside] = torch.from_numpy(spsolve(matrix.tocsr(), right.numpy())).float()
    return out


def test_the_poisson_patch_solves_the_equation():
    images = crops(2, 10)
    inside = torch.zeros(2, 1, 10, 10, 10)
    inside[0, 0, 2:6, 3:8, 2:7] = 1
    inside[0, 0, 2, 3] = 0
    target = 0.6 * inside
    blended = poisson(images, images.flip(0), target)
    expected = direct(images[0, 0], images[1, 0], inside[0, 0] > 0, 0.6)
    torch.testing.assert_close(blended[0, 0], expected, atol=1e-3, rtol=0)
    assert torch.equal(blended[1], images[1])


def test_a_poisson_patch_leaves_no_seam_where_interpolation_does():
    x = torch.full((1, 1, 16, 16, 16), 0.1)
    y = torch.full_like(x, 0.7)  # another level and no gradient: nothing to see once blended
    target = torch.zeros_like(x)
    target[..., 4:12, 4:12, 4:12] = 0.5
    torch.testing.assert_close(poisson(x, y, target), x, atol=1e-5, rtol=0)
    assert (interpolated(x, y, target) - x).max() == pytest.approx(0.3)


def test_a_single_crop_gets_a_patch_of_itself_moved():
    images = crops(1)
    torch.manual_seed(0)
    other = foreign(images)
    assert other.shape == images.shape
    assert (other == images).float().mean() < 0.1
    assert torch.equal(other.flatten().sort()[0], images.flatten().sort()[0])


@pytest.mark.parametrize("blend", ["interpolate", "poisson"])
def test_same_seed_and_the_batch_is_left_alone(blend):
    images = crops()
    original = images.clone()
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(Anomaly(blend=blend).blend_patches(images))
    assert torch.equal(results[0][0], results[1][0])
    assert not torch.equal(results[0][0], results[2][0])
    assert torch.equal(images, original)


@pytest.mark.parametrize("blend", ["interpolate", "poisson"])
def test_each_blend_conforms(blend):
    check_strategy(lambda: Anomaly(blend=blend))


def test_the_head_learns_and_the_masks_head_does_not():
    strategy = Anomaly()
    learner = Learner(tiny_student(0, strategy.needs.heads), {"anomaly": strategy})
    torch.manual_seed(0)
    learner(tiny_batch(strategy), 1.0)["anomaly/anomaly"].value.backward()
    assert all(p.grad.abs().sum() > 0 for p in learner.student.heads.parameters())
    assert all(p.grad is None for p in learner.student.backbone.head.parameters())


def test_options_out_of_range_are_refused():
    for options in ({"blend": "paste"}, {"alpha": [0, 1]}, {"size": [0.3, 0.1]}):
        with pytest.raises(UserError, match=next(iter(options))):
            build_strategy("anomaly", options)
