"""Counting contacts: by hand, against a loop over voxels, against the soft adjacency."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from semilung.losses import contacts, count_adjacency, soft_adjacency

SIZES = st.sampled_from([(4, 4), (1, 5), (6, 3), (3, 3, 3), (1, 4, 2), (5, 1, 6), (1, 1, 1)])


def random_labels(seed, size, values=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, values, size, generator=generator)


def original(labels, classes):
    """Ganaye et al., MedIA 2019: for each voxel, its box of labels, less the voxel itself."""
    padded = F.pad(labels, [1, 1] * labels.ndim, value=classes)
    counts = torch.zeros(classes + 1, classes + 1, dtype=torch.long)
    for position in itertools.product(*map(range, labels.shape)):
        box = padded[tuple(slice(p, p + 3) for p in position)]
        centre = labels[position]
        counts[centre] += torch.bincount(box.flatten(), minlength=classes + 1)
        counts[centre, centre] -= 1
    return counts[:classes, :classes]


def test_golden_two_dimensions():
    labels = torch.zeros(4, 4, dtype=torch.long)
    labels[:, 2:] = 1
    labels[3, 3] = 2
    assert count_adjacency(labels, 3, centre=True).tolist() == [[40, 10, 0], [10, 33, 3], [0, 3, 1]]
    # Less the voxels themselves: 8 of class 0, 7 of class 1, 1 of class 2.
    assert count_adjacency(labels, 3).tolist() == [[32, 10, 0], [10, 26, 3], [0, 3, 0]]


def test_golden_three_dimensions():
    labels = torch.zeros(4, 4, 4, dtype=torch.long)
    labels[..., 2:] = 1
    labels[3, 3, 3] = 2
    expected = [[400, 100, 0], [100, 385, 7], [0, 7, 1]]
    assert count_adjacency(labels, 3, centre=True).tolist() == expected


@given(st.integers(0, 99), SIZES, st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_is_the_published_count_whatever_the_chunk(seed, size, chunk):
    labels = random_labels(seed, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contacts, "CHUNK", chunk)
        assert torch.equal(count_adjacency(labels, 4), original(labels, 4))


@given(st.integers(0, 99), SIZES, st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_is_the_soft_adjacency_of_the_one_hot_map(seed, size, batch):
    labels = random_labels(seed, (batch, *size))
    one_hot = F.one_hot(labels, 4).movedim(-1, 1).double()
    pairs = soft_adjacency(one_hot) * labels.numel() * 3 ** len(size)
    counts = count_adjacency(labels, 4, dims=len(size), centre=True)
    torch.testing.assert_close(pairs, counts.double())


@given(st.integers(0, 99), SIZES)
@settings(max_examples=40, deadline=None)
def test_count_adjacency_labels_outside_the_classes_are_not_counted(seed, size):
    labels = random_labels(seed, size, values=6)
    others = torch.where(labels == 4, 255, torch.where(labels == 5, -1, labels))
    whole = count_adjacency(labels, 6)
    assert torch.equal(count_adjacency(others, 4), whole[:4, :4])
    assert torch.equal(
        count_adjacency(others, 4, centre=True).diag() - whole.diag()[:4],
        torch.bincount(labels.flatten(), minlength=6)[:4],
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_every_integer_type_counts_alike(dtype):
    labels = random_labels(0, (4, 5, 6))
    labels[0] = 255 if dtype == torch.uint8 else -1
    for classes in (4, 256, 300):
        counts = count_adjacency(labels.to(dtype), classes)
        assert counts.dtype == torch.long
        assert torch.equal(counts[:4, :4], count_adjacency(labels, 4))


def test_a_batch_is_the_sum_of_its_maps():
    labels = random_labels(0, (3, 4, 5, 6))
    singles = torch.stack([count_adjacency(volume, 4) for volume in labels])
    assert torch.equal(count_adjacency(labels, 4), singles.sum(0))
    flat = torch.stack([count_adjacency(image, 4) for image in labels[0]])
    assert torch.equal(count_adjacency(labels[0], 4, dims=2), flat.sum(0))


def test_chunks_bound_the_work_at_once(monkeypatch):
    sizes = []
    count = torch.bincount

    def spy(pairs, minlength):
        sizes.append(pairs.numel())
        return count(pairs, minlength=minlength)

    monkeypatch.setattr(contacts, "CHUNK", 5000)
    monkeypatch.setattr(torch, "bincount", spy)
    count_adjacency(random_labels(0, (40, 30, 30)), 4)
    assert max(sizes) <= 5000


def test_refuses_what_is_no_label_map():
    with pytest.raises(ValueError, match="integers"):
        count_adjacency(torch.zeros(4, 4), 2)
    for labels, dims in [((4,), None), ((2, 2, 2, 2, 2), None), ((4, 4), 3), ((2, 2, 2, 2), 2)]:
        with pytest.raises(ValueError, match="neither"):
            count_adjacency(torch.zeros(labels, dtype=torch.long), 2, dims=dims)
