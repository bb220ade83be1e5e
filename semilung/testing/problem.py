"""Small problem of the conformance kit: student, batches of every kind, and cases for priors."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semilung.data import Case, Nodule, PreparedCase
from semilung.data.anatomy import ANATOMY
from semilung.data.cache.prepare import mask_instances
from semilung.data.cache.store import StoredVolume
from semilung.data.io.grid import Shape
from semilung.data.loading.crop_nodules import pad_nodules
from semilung.data.manifest.targets import Target
from semilung.inference.predictor import MASK_HEAD
from semilung.models import Head, Segmenter, build_model
from semilung.models.heads import StridedHead
from semilung.strategies import Learner, Strategy, build_strategy, heads_of
from semilung.strategies.core.centre_maps import CENTRES, centre_maps
from semilung.strategies.core.learner import targets_of_needs
from semilung.tasks import DEFAULT, Task, build_tasks, heads_of_tasks
from semilung.types import IGNORE, Batch, Role

Strategies = Mapping[str, Strategy]
Factory = Callable[[], Strategy | Strategies]
Kind = Literal["normal", "empty", "single_voxel", "all_healthy", "ignored"]

SIZE = 16
INSTANCES = 3
DECAY = 0.9
WALL = 11
"""Index along the first axis where lung ends and chest wall starts."""

_UNKNOWN = {
    "unlabelled": {"mask", "instances", "nodules", "targets", "bag_label"},
    "weak": {"mask", "instances", "nodules", "targets"},
    "located": {"mask", "instances"},
}
"""Fields that a stream never has."""

LUNG, BONE, SOFT_TISSUE = (ANATOMY[name] for name in ("lung", "bone", "soft_tissue"))


def tiny_student(
    seed: int = 0, heads: Mapping[str, int | Head] | None = None, *, logits: bool = True
) -> Segmenter:
    """Build a small reversible net with confident outputs, so that thresholds are exceeded."""
    torch.manual_seed(seed)
    model = build_model(
        "reversible_unet", {"widths": (4, 8), "depth": 1}, heads=heads, logits=logits
    )
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(2)
    if heads and CENTRES in heads:
        _spread_centres(model)
    return model


@torch.no_grad()
def _spread_centres(model: Segmenter) -> None:
    """Scale the centre heatmap so that its peaks lie on both sides of usual thresholds."""
    image = _image(torch.zeros(1, 1, *(SIZE,) * 3), torch.Generator().manual_seed(0))
    logits = centre_maps(model(image)[CENTRES]).logits
    gain = 1.5 / logits.std()
    last = cast(StridedHead, model.heads[CENTRES]).last
    prior = logits.mean() - model(image)[CENTRES][:, 0].mean()
    assert last.bias is not None
    last.weight[0] *= gain
    last.bias[0] = gain * (last.bias[0] - logits.mean() + prior) - prior - 1.5


def tiny_learner(
    make: Factory, *, seed: int = 0, prior: bool = True, perturbed: bool = True
) -> Learner:
    """Build a learner of the given strategies only, ready for a step.

    The student has the heads of the tasks that they declare.

    Args:
        make: Returns one strategy, or several by name.
        seed: Seed of the student's weights.
        prior: Whether to run `before_training`, on tiny cases.
        perturbed: Whether to perturb the weights of the teacher, if there is one.
    """
    strategies = named(make)
    tasks = tasks_of(strategies)
    heads = heads_of({**bases_of(tasks), **strategies})
    student = partial(tiny_student, heads=heads, logits=MASK_HEAD in heads_of_tasks(tasks.values()))
    learner = Learner(
        student(seed), strategies, teacher_decay=DECAY, make_student=partial(student, seed + 50)
    )
    if prior:
        learner.before_training(_cases(strategies))
    if perturbed and learner.teacher is not None:
        torch.manual_seed(seed + 100)
        for p in learner.teacher.net.parameters():
            p.add_(0.2 * p.std(correction=0) * torch.randn_like(p))
    return learner.train()


def named(make: Factory) -> dict[str, Strategy]:
    """Return the strategies of a factory by name; a single one is named `checked`."""
    product = make()
    return {"checked": product} if isinstance(product, Strategy) else dict(product)


def tasks_of(strategies: Strategies) -> dict[str, Task]:
    """Return the tasks that strategies declare, the default ones if they declare none."""
    names = [name for strategy in strategies.values() for name in strategy.needs.tasks]
    return build_tasks(dict.fromkeys(names) or DEFAULT)


def bases_of(tasks: Mapping[str, Task]) -> dict[str, Strategy]:
    """Return the base strategies of tasks, by name."""
    return {task.base: build_strategy(task.base) for task in tasks.values()}


def within(make: Factory, tasks: Container[str]) -> Factory:
    """Return a factory whose strategies declare no other tasks than these."""

    def narrowed() -> Strategies:
        strategies = named(make)
        for strategy in strategies.values():
            strategy.needs = strategy.needs.among(tasks)
        return strategies

    return narrowed


def tiny_batch(
    *strategies: Strategy, kind: Kind = "normal", batch_size: int = 2, seed: int = 0
) -> Batch:
    """Make a batch with the declared streams, views and fields, like the loader's.

    Args:
        strategies: Strategies whose needs determine the streams.
        kind: Content of the masks: a box, nothing, one voxel, or `ignore` everywhere;
            `all_healthy` is nothing, with negative bag labels.
        batch_size: Samples of each stream.
        seed: Seed of images and boxes.
    """
    generator = torch.Generator().manual_seed(seed)
    targets = targets_of_needs(strategy.needs for strategy in strategies)
    return {
        stream: Declared(stream, _stream(stream, kind, batch_size, generator, targets), strategies)
        for stream in _read(strategies)
    }


class Declared(dict[str, Any]):
    """Samples of a stream; reading a field that no strategy declares is an error."""

    def __init__(
        self, stream: str, samples: Mapping[str, Any], strategies: tuple[Strategy, ...]
    ) -> None:
        self.stream = stream
        needs = [strategy.needs.among() for strategy in strategies]
        views = {v for n in needs for v in (*n.views.get(stream, ()), *n.optional.get(stream, ()))}
        fields = {f for n in needs for f in n.fields} - _UNKNOWN.get(stream, set())
        masks = {"bag_mask"} if "bag" in views else set()
        super().__init__({k: samples[k] for k in samples if k in views | fields | masks | {"case"}})

    def __missing__(self, name: str) -> Any:
        raise AssertionError(
            f"{name!r} of the {self.stream} stream is read, but Needs does not declare it, or a "
            "training does not have it"
        )


@dataclass(frozen=True)
class ArrayVolume:
    """A prepared volume in memory."""

    data: NDArray[Any]
    meta: Mapping[str, Any]

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        x, y, z = self.data.shape
        return (x, y, z)

    @property
    def checksums(self) -> NDArray[np.uint32]:
        """CRC-32 of the array, as one chunk."""
        return np.array([zlib.crc32(self.data.tobytes())], np.uint32)

    def read(self, slices: tuple[slice, slice, slice] | None = None) -> NDArray[Any]:
        """Read the voxels within `slices`, all by default."""
        return self.data if slices is None else self.data[slices]


class TinyCase(PreparedCase):
    """A small prepared case in memory: lung with a nodule, next to the chest wall.

    It has everything that a strategy may read of a `PreparedCase`.
    """

    def volume(self, field: str) -> StoredVolume:
        """Return the volume of a field, `(16, 16, 16)` at 1 mm."""
        assert field in self.files, f"case {self.name} has no {field} to read"
        anatomy = _anatomy().numpy()
        mask = np.zeros((SIZE,) * 3, np.uint8)
        mask[4:8, 4:8, 4:8] = 1
        if field == "anatomy":
            return ArrayVolume(anatomy, {})
        if field == "mask":
            return ArrayVolume(mask, mask_instances(mask, (1.0, 1.0, 1.0)))
        hu = np.where(anatomy == LUNG, -850, 50).astype(np.int16)
        if "mask" in self.files:
            hu = np.where(mask == 1, 20, hu)
        grid = {"source_shape": hu.shape, "source_affine": np.eye(4).tolist()}
        return ArrayVolume(hu, {"affine": np.eye(4).tolist(), "lungs": None, **grid})


def _cases(strategies: Strategies) -> dict[str, list[PreparedCase]]:
    """Return six cases of two cohorts for each stream; only labelled ones have masks."""
    targets = targets_of_needs(strategy.needs for strategy in strategies.values())

    def nodules(i: int) -> tuple[Nodule, ...]:
        values = {target.name: target.values[i % len(target.values)][0] for target in targets}
        return (Nodule("1", (5.5, 5.5, 5.5), 5.0, targets=values),)

    def case(stream: str, i: int) -> PreparedCase:
        name = f"{stream}_{i}"
        row = Case(
            name,
            patient=name,
            image=Path(name),
            role="labelled" if stream == "located" else cast(Role, stream),
            mask=Path(name) if stream == "labelled" else None,
            anatomy=Path(name),
            bag_label=0 if stream == "healthy" else 1,
            cohort=f"c{i % 2}",
            nodules=nodules(i) if stream == "located" or (targets and stream == "labelled") else (),
        )
        return TinyCase(row, {field: Path(field) for field in row.volumes()})

    streams = _read(tuple(strategies.values()))
    return {stream: [case(stream, i) for i in range(6)] for stream in streams}


def _read(strategies: tuple[Strategy, ...]) -> list[str]:
    needs = [strategy.needs for strategy in strategies]
    return sorted({stream for need in needs for stream in [*need.views, *need.optional]})


def _anatomy() -> Tensor:
    anatomy = torch.full((SIZE,) * 3, LUNG, dtype=torch.uint8)
    anatomy[WALL:] = SOFT_TISSUE
    anatomy[WALL + 2 :] = BONE
    return anatomy


def _stream(
    stream: str,
    kind: Kind,
    batch_size: int,
    generator: torch.Generator,
    targets: Sequence[Target],
) -> dict[str, object]:
    healthy = stream == "healthy" or kind == "all_healthy"
    mask = torch.zeros((batch_size, 1, *(SIZE,) * 3), dtype=torch.uint8)
    if not healthy:
        _paint(mask, kind, generator)
    weak = _image(mask, generator)
    noise = 0.05 * torch.randn(weak.shape, generator=generator)
    bag = torch.stack([_image(mask, generator) for _ in range(INSTANCES)], dim=1)
    present = torch.ones(batch_size, INSTANCES, dtype=torch.bool)
    present[-1, -1] = batch_size == 1
    nodules = _nodules(mask)
    numbers = [
        [[5.0, *(float(i % len(t.values)) for t in targets)]] * nodules.shape[1]
        for i in range(batch_size)
    ]
    return {
        "weak": weak,
        "strong": (weak + noise).clamp(0, 1),
        "bag": bag,
        "bag_mask": present,
        "mask": mask,
        "instances": mask.clone(),
        "anatomy": _anatomy().expand_as(mask).clone(),
        "nodules": nodules,
        "targets": torch.tensor(numbers).reshape(*nodules.shape[:2], 1 + len(targets)),
        "spacing_mm": torch.ones(batch_size, 3),
        "bag_label": torch.full((batch_size,), 0 if healthy else 1),
        "case": [f"{stream}_{i}" for i in range(batch_size)],
    }


def _nodules(mask: Tensor) -> Tensor:
    """Return the centre and size of each sample's box, `(B, N, 5)` as the loader gives it."""
    rows = []
    for sample in mask[:, 0]:
        voxels = (sample > 0).nonzero().float()
        counted = float(not bool((sample == IGNORE).any()))
        edge = max(1.0, len(voxels) ** (1 / 3))
        box = torch.tensor([*voxels.mean(0), edge, counted]) if len(voxels) else None
        rows.append(torch.empty(0, 5) if box is None else box[None])
    return pad_nodules(rows)


def _image(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Return an image of lung at -850 HU, wall and nodules at 50 HU, with noise."""
    image = torch.where(_anatomy() == LUNG, 0.11, 0.75).expand(mask.shape)
    image = torch.where(mask == 1, 0.72, image)
    return (image + 0.02 * torch.randn(mask.shape, generator=generator)).clamp(0, 1)


def _paint(mask: Tensor, kind: Kind, generator: torch.Generator) -> None:
    if kind == "ignored":
        mask.fill_(IGNORE)
    for sample in mask:
        x, y, z = (int(torch.randint(2, SIZE - 6, (), generator=generator)) for _ in range(3))
        if kind == "normal":
            sample[0, x : x + 4, y : y + 4, z : z + 4] = 1
        elif kind == "single_voxel":
            sample[0, x, y, z] = 1
