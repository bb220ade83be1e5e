"""Inserted nodules: in the lung, exactly labelled, with the host's noise, nothing else changed."""

import pytest
import torch
from scipy import ndimage

from semilung.strategies import Learner, build_strategy
from semilung.strategies.core.learner import Step
from semilung.strategies.nodule_insertion.host_crops import (
    Insert,
    Noise,
    blended,
    find_place,
    measure_noise,
    study,
)
from semilung.strategies.nodule_insertion.insertion import NoduleInsertion
from semilung.strategies.nodule_insertion.real_nodules import cut_out, fitted
from semilung.strategies.nodule_insertion.synthetic_nodules import draw_diameter_mm, draw_ellipsoid
from semilung.testing import tiny_student
from semilung.types import UserError

MM = (1.0, 1.0, 1.0)
LUNG, WALL, AIR = -850.0, 50.0, -1000.0
SIZE = 32


def chest(noise_hu=20.0, grain=0.0, seed=0):
    """Air, wall, lung with a vessel, wall along x; HU, and where there is truly lung."""
    hu = torch.full((SIZE,) * 3, LUNG)
    hu[:5], hu[5:8], hu[28:] = AIR, WALL, WALL
    hu[18:21, 14:17] = 30.0
    lung = hu == LUNG
    torch.manual_seed(seed)
    noise = Noise(noise_hu, (grain,) * 3).draw(tuple(hu.shape), hu)
    return (hu + noise).clamp(-1000, 400), lung


def scaled(hu):
    return ((hu + 1000) / 1400).clamp(0, 1)


def insert(strategy, hosts, labelled=None, seed=0):
    batch = {"healthy": {"weak": scaled(torch.stack(hosts))[:, None]}}
    if labelled is not None:
        batch["labelled"] = labelled
    torch.manual_seed(seed)
    step = Step(batch, 1.0, None, None)
    return (*strategy.insert(step), batch["healthy"]["weak"])


def labelled(*boxes, ignored=None, hu=20.0):
    """One labelled crop of lung with nodules in boxes."""
    mask = torch.zeros(1, 1, *(SIZE,) * 3, dtype=torch.uint8)
    for start, size in boxes:
        box = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
        mask[(0, 0, *box)] = 1
    image = torch.where(mask == 1, hu, LUNG) + 20 * torch.randn(mask.shape)
    if ignored is not None:
        mask[(0, 0, *ignored)] = 255
    return {"weak": scaled(image), "mask": mask}


TWO = labelled(((6, 6, 6), (5, 5, 5)), ((20, 20, 18), (6, 5, 7)))


@pytest.mark.parametrize("real_share", [0.0, 1.0])
def test_nothing_is_changed_or_labelled_outside_the_lung(real_share):
    strategy = NoduleInsertion(inserted_share=1.0, real_share=real_share, touching_share=0.5)
    held = 0
    for seed in range(12):
        hu, lung = chest(seed=seed)
        images, labels, healthy = insert(strategy, [hu], TWO, seed)
        changed = images != healthy
        near = torch.from_numpy(ndimage.binary_dilation(lung, iterations=1))
        assert not (labels[0, 0].bool() & ~near).any()
        assert not (changed[0, 0] & ~near).any()
        assert not labels[0, 0, :8].any(), "no nodule in the shell between air and wall"
        held += bool(labels.any())
    assert held >= 10


def test_air_alone_and_wall_alone_stay_as_they_are():
    strategy = NoduleInsertion(inserted_share=1.0)
    border = torch.full((16, 16, 16), AIR)
    border[8:] = WALL  # the smoothed border passes through every intensity of lung
    for hu in (torch.full((16, 16, 16), AIR), torch.full((16, 16, 16), WALL), border):
        images, labels, healthy = insert(strategy, [hu], TWO)
        assert torch.equal(images, healthy)
        assert not labels.any()


def test_what_does_not_touch_lies_in_parenchyma_alone():
    strategy = NoduleInsertion(inserted_share=1.0, real_share=0.0, touching_share=0.0)
    for seed in range(8):
        hu, _ = chest(seed=seed)
        _, labels, _ = insert(strategy, [hu], None, seed)
        parenchyma = study(hu, MM).parenchyma
        assert not (labels[0, 0].bool() & ~parenchyma).any()


def test_two_voxels_around_what_is_taken_are_no_place():
    occupied = torch.zeros((SIZE,) * 3, dtype=torch.bool)
    occupied[10, 16, 20] = True
    host = study(torch.full((SIZE,) * 3, LUNG), MM, occupied=occupied)
    around = torch.zeros_like(occupied)
    around[8:13, 14:19, 18:23] = True
    assert torch.equal(host.parenchyma, ~around)
    assert torch.equal(host.lung, ~around)


def test_a_share_touches_the_wall_or_a_vessel():
    hu, _ = chest()
    host = study(hu, MM)
    ball = _ball(4.0)
    torch.manual_seed(0)
    for touching in (True, False):
        place = find_place(host, ball, touching=touching)
        _, label = blended(host, ball, place)
        assert bool((label & ~host.parenchyma).any()) is touching


@pytest.mark.parametrize("seed", range(6))
def test_the_label_is_where_half_the_voxel_was_inserted(seed):
    hu = torch.full((SIZE,) * 3, LUNG)
    host = study(hu, MM)
    torch.manual_seed(seed)
    nodule = draw_ellipsoid(host, MM, (8.0, 8.0))
    image, label = blended(host, nodule, (16, 16, 16))
    inner = hu.clone()
    inner[tuple(slice(16 - n // 2, 16 + n // 2 + 1) for n in nodule.hu.shape)] = nodule.hu
    inserted = (image - hu) / (inner - hu).clamp(min=1)
    assert torch.equal(label, inserted >= 0.5)
    assert -780 < image[label].median() < 100
    grown = torch.from_numpy(ndimage.binary_dilation(label, torch.ones(3, 3, 3), iterations=3))
    assert not ((inserted > 0.1) & ~grown).any(), "the edge is softer than three voxels"
    assert torch.equal(image[inserted == 0], hu[inserted == 0])


def test_spicules_end_within_the_drawn_box(monkeypatch):
    uniform = torch.rand

    def solid_with_spicules(*size, **options):
        synthetic = uniform(*size, **options)
        return synthetic * 0.1 if size == (10,) else synthetic

    monkeypatch.setattr(torch, "rand", solid_with_spicules)
    host = study(torch.full((SIZE,) * 3, LUNG), MM)
    for seed in range(20):
        torch.manual_seed(seed)
        border = draw_ellipsoid(host, MM, (12.0, 12.0)).fraction
        border[1:-1, 1:-1, 1:-1] = 0
        assert border.max() == 0


def test_drawn_volumes_and_diameters_are_those_asked_for():
    hu, _ = chest()
    host = study(hu, MM)
    torch.manual_seed(1)
    volumes = [
        float((draw_ellipsoid(host, MM, (9.0, 9.0)).fraction >= 0.5).sum()) for _ in range(20)
    ]
    ball = 4 / 3 * 3.14159 * 4.5**3
    assert 0.7 * ball < sum(volumes) / 20 < 1.4 * ball
    diameters = torch.tensor([draw_diameter_mm((4.0, 28.0)) for _ in range(1000)])
    assert diameters.min() >= 4
    assert diameters.max() <= 28
    assert 7.5 < diameters.median() < 9


@pytest.mark.parametrize("grain", [0.0, 0.8])
@pytest.mark.parametrize("std", [15.0, 40.0])
def test_noise_within_is_the_hosts(std, grain):
    hu = torch.full((SIZE,) * 3, LUNG)
    torch.manual_seed(3)
    noise = Noise(std, (grain,) * 3).draw(tuple(hu.shape), hu)
    measured = measure_noise(hu + noise, torch.ones_like(hu, dtype=torch.bool))
    assert measured.std_hu == pytest.approx(std, rel=0.15)
    assert measured.grain == pytest.approx((grain,) * 3, abs=0.2)
    host = study(hu + noise, MM)
    ball = _ball(8.0)
    ball = ball._replace(grain_hu=host.noise.draw(tuple(ball.hu.shape), ball.hu))
    image, label = blended(host, ball, (16, 16, 16))
    core = torch.from_numpy(ndimage.binary_erosion(label, iterations=2))
    inside, around = image[core].std(), image[image == hu + noise].std()
    assert float(inside / around) == pytest.approx(1, abs=0.25)


def test_a_vessel_shows_through_ground_glass():
    hu = torch.full((SIZE,) * 3, LUNG)
    hu[15:18, 15:18] = 30.0
    glass = _ball(7.0)
    glass = glass._replace(hu=torch.full_like(glass.hu, -600.0))
    image, label = blended(study(hu, MM), glass, (16, 16, 16))
    assert bool(label[12, 16, 16])
    assert (image >= hu).all()
    assert torch.equal(image[16, 16], hu[16, 16])


def test_a_real_nodule_takes_the_noise_of_its_new_host():
    for source, host_noise in ((60.0, 15.0), (15.0, 60.0)):
        torch.manual_seed(0)
        donor = torch.full((SIZE,) * 3, LUNG)
        donor[8:20, 8:20, 8:20] = 20.0
        mask = (donor > 0).to(torch.uint8)
        (cut,) = cut_out(donor + source * torch.randn(donor.shape), mask, MM)
        host = study(torch.full((SIZE,) * 3, LUNG) + host_noise * torch.randn(donor.shape), MM)
        image, label = blended(host, fitted(cut, host, MM, (1.0, 1.0)), (16, 16, 16))
        core = torch.from_numpy(ndimage.binary_erosion(label, iterations=3))
        assert host_noise / 2 < image[core].std() < host_noise * 1.5


def test_every_whole_nodule_of_a_crop_is_inserted():
    crop = labelled(((6, 6, 6), (5, 5, 5)), ((20, 20, 18), (6, 5, 7)), ((0, 14, 14), (4, 4, 4)))
    hu = 2 * crop["weak"][0, 0] * 700 - 1000
    cuts = cut_out(hu, crop["mask"][0, 0], MM)
    assert sorted(int(cut.mask.sum()) for cut in cuts) == [125, 210]  # the third is cut off
    strategy = NoduleInsertion(
        inserted_share=1.0, real_share=1.0, touching_share=0.0, zoom=(1.0, 1.0)
    )
    host = torch.full((48,) * 3, LUNG) + 20 * torch.randn(48, 48, 48)
    for seed in range(5):
        _, labels, _ = insert(strategy, [host], crop, seed)
        _, count = ndimage.label(labels[0, 0], structure=torch.ones(3, 3, 3))
        assert count == 2


def test_ignored_voxels_are_no_nodules_and_drawn_ones_take_their_place():
    crop = labelled(ignored=(slice(8, 14),) * 3)
    assert not cut_out(crop["weak"][0, 0], crop["mask"][0, 0], MM)
    hu, _ = chest()
    _, labels, _ = insert(NoduleInsertion(inserted_share=1.0, real_share=1.0), [hu], crop)
    assert labels.any()


def test_same_seed_same_nodules_and_the_batch_is_left_alone():
    strategy = NoduleInsertion(inserted_share=1.0)
    hosts = [chest(seed=i)[0] for i in range(2)]
    original = scaled(torch.stack(hosts))[:, None]
    one, two, other = (insert(strategy, hosts, TWO, seed) for seed in (5, 5, 6))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], other[0])
    assert torch.equal(one[2], original)
    assert TWO["mask"].max() == 1


def test_the_share_of_crops_that_hold_nodules():
    hosts = [chest()[0]] * 12
    for share, least, most in ((0.0, 0, 0), (0.5, 2, 10), (1.0, 11, 12)):
        strategy = NoduleInsertion(inserted_share=share, real_share=0.0, diameter_mm=(5, 8))
        images, labels, healthy = insert(strategy, hosts)
        held = labels.bool().flatten(1).any(1)
        assert least <= held.sum() <= most
        assert torch.equal(images[~held], healthy[~held])


def test_anisotropic_voxels_keep_the_nodules_size_in_mm():
    spacing = (1.0, 1.0, 2.5)
    host = study(torch.full((SIZE, SIZE, 16), LUNG) + 5 * torch.randn(SIZE, SIZE, 16), spacing)
    torch.manual_seed(0)
    volumes = [
        2.5 * float((draw_ellipsoid(host, spacing, (9.0, 9.0)).fraction >= 0.5).sum())
        for _ in range(20)
    ]
    assert 270 < sum(volumes) / 20 < 540


def test_the_student_learns_from_inserted_crops_at_any_size():
    strategy = NoduleInsertion(inserted_share=1.0)
    learner = Learner(tiny_student(), {"nodule_insertion": strategy})
    torch.manual_seed(0)
    weak = scaled(torch.full((1, 1, 16, 20, 24), LUNG) + 10 * torch.randn(1, 1, 16, 20, 24))
    terms = learner({"healthy": {"weak": weak}}, 1.0)
    assert terms["nodule_insertion/inserted_share"].value == 1
    assert terms["nodule_insertion/inserted"].value.requires_grad


def test_options_out_of_range_are_refused():
    with pytest.raises(UserError, match=r"data\.spacing_mm"):
        build_strategy("nodule_insertion", {"spacing_mm": None})
    with pytest.raises(UserError, match="real_share"):
        build_strategy("nodule_insertion", {"real_share": 2.0})
    with pytest.raises(UserError, match="zoom"):
        build_strategy("nodule_insertion", {"zoom": [2.0, 1.0]})


def _ball(radius):
    axis = torch.arange(-10.0, 11)
    distance = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    share = torch.special.ndtr((radius - distance) / 0.6)
    share = torch.where(share < 0.02, 0.0, share)
    return Insert(share, share, torch.full_like(share, 20.0), torch.zeros_like(share))
