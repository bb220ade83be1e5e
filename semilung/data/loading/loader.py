"""Batches by step: item t of the dataset is the whole batch of training step t."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from semilung.data.cache.prepared_case import PreparedCase
from semilung.data.data_config import AugmentConfig, DataConfig
from semilung.data.io.grid import Shape
from semilung.data.loading.augment import Views
from semilung.data.loading.bags import bag_windows
from semilung.data.loading.crop_geometry import Geometry, random_geometry
from semilung.data.loading.crop_nodules import crop_nodules, pad_nodules
from semilung.data.loading.intensity import scale_hu
from semilung.data.loading.packed_cases import PackedCases
from semilung.data.loading.sampling import bag_rng, draw, random_target, random_window, sample_rng
from semilung.data.manifest.fields import FIELDS
from semilung.data.manifest.targets import Target
from semilung.types import IGNORE, Batch, StreamBatch, UserError

NODULE_STREAMS = ("labelled", "located")
"""Streams whose nodules are known, so that crops can be drawn around them."""

ViewsOf: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]
"""Views of all streams, or by stream name."""

HardNegatives: TypeAlias = Mapping[str, Sequence[Sequence[int]]]
"""Voxels (x, y, z) of healthy cases, by case name, in which a net sees nodules."""

NOWHERE: NDArray[np.int16] = np.zeros((0, 3), np.int16)


class StepDataset(Dataset["Batch | UserError"]):
    """Item t is the whole batch of step t for this process: a pure function of (seed, t).

    Sample j of stream s at step t has the global index `t * B_s * world_size + rank * B_s + j`,
    so processes never share a sample, and together draw those of one process with their batch.

    Args:
        streams: Training cases by stream name.
        config: Crop, window, batch sizes and sampling.
        augment: Augmentation of crops and views.
        seed: Seed of the run.
        rank: Rank of this process.
        world_size: Number of processes.
        views: Any of `weak`, `strong`, `bag`, for all streams or by stream.
        fields: Any of `mask`, `anatomy`, `instances`, `nodules`, `targets` (next to `nodules`),
            `spacing_mm`, `bag_label`.
        targets: Columns of `nodules.csv` whose values the field `targets` holds.
        hard_negatives: Voxels of healthy cases that `config.hard_negatives` of their crops hold.

    Raises:
        UserError: A stream has no cases, or its batch size is 0.
    """

    def __init__(
        self,
        streams: Mapping[str, Sequence[PreparedCase]],
        config: DataConfig,
        augment: AugmentConfig,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        views: ViewsOf = ("weak", "strong"),
        fields: Sequence[str] = ("mask",),
        targets: Sequence[Target] = (),
        hard_negatives: HardNegatives = MappingProxyType({}),
    ) -> None:
        self.config, self.augment = config, augment
        self.seed, self.rank, self.world_size = seed, rank, world_size
        by_stream = views if isinstance(views, Mapping) else dict.fromkeys(streams, views)
        self.views = {stream: tuple(by_stream[stream]) for stream in streams}
        self.fields, self.targets = tuple(fields), tuple(targets)
        self._hard = {case: np.array(v, np.int16) for case, v in hard_negatives.items()}
        self._make = Views(augment, window_hu=config.window_hu, size=config.crop)
        for stream, cases in streams.items():
            _require_stream(stream, cases, config)
        self._labels = {stream: self._label_fields(stream, streams[stream]) for stream in streams}
        self._cases = {stream: PackedCases(cases) for stream, cases in streams.items()}

    def __getitem__(self, step: int) -> Batch | UserError:
        try:
            return {stream: self._stream(stream, step) for stream in self._cases}
        except UserError as error:
            # returned: torch would wrap an exception of a worker in its traceback
            return error

    def _stream(self, stream: str, step: int) -> StreamBatch:
        size = self.config.batch[stream]
        first = (step * self.world_size + self.rank) * size
        cases = self._cases[stream]
        chosen = [cases[draw(self.seed, stream, first + j, len(cases))] for j in range(size)]
        samples = [self._sample(stream, first + j, item) for j, item in enumerate(chosen)]
        batch: StreamBatch = {
            key: pad_nodules([s[key] for s in samples])
            if key in ("nodules", "targets")
            else torch.stack([s[key] for s in samples])
            for key in samples[0]
        }
        if "bag" in self.views[stream]:
            bags = chosen[: self.config.bags]
            batch |= self._bags([(first + j, item) for j, item in enumerate(bags)], stream)
        if "bag_label" in self.fields and stream != "unlabelled":
            batch["bag_label"] = torch.tensor([bag_label(item) for item in chosen])
        batch["case"] = [item.name for item in chosen]
        return batch

    def _sample(self, stream: str, index: int, item: PreparedCase) -> dict[str, torch.Tensor]:
        """Draw one crop: window, geometry, views and labels."""
        rng, size = sample_rng(self.seed, stream, index), self.config.crop
        voxels, share = self._targets(stream, item)
        target = random_target(rng, voxels, share)
        of_nodule = target is not None and stream in NODULE_STREAMS
        diameter_mm = float(item.diameters_mm[target]) if of_nodule else None
        geometry = random_geometry(
            rng, self.augment, size, item.spacing_mm, diameter_mm=diameter_mm
        )
        start = random_window(
            rng,
            item.shape,
            size,
            overhang=self.config.overhang,
            voxel=None if target is None else voxels[target],
            zoom=geometry.zoom,
        )
        seeds = dict(zip(("weak", "strong"), rng.integers(2**31, size=2).tolist(), strict=True))
        image = self._image(item, start, geometry)
        views = [view for view in self.views[stream] if view != "bag"]
        sample = {v: self._make.make(v, image, seed=seeds[v]) for v in views}
        low, extent = _with_margin(start, geometry)
        for name in self._labels[stream]:
            if name in item.files:
                labels = geometry(item.crop(name, low, extent), order=0)
            else:
                labels = np.full(size, FIELDS[name].fill(item.case.role), np.uint8)
            sample[name] = torch.from_numpy(labels)[None]
        if "instances" in self.fields and "mask" in sample:
            sample["instances"] = sample["mask"]
        if "mask" in sample:
            mask = sample["mask"]
            sample["mask"] = torch.where(mask == IGNORE, IGNORE, mask > 0).to(torch.uint8)
        if "nodules" in self.fields and stream in ("labelled", "located", "healthy"):
            nodules, numbers = crop_nodules(item, low, geometry, self.targets)
            sample["nodules"] = torch.from_numpy(nodules)
            if "targets" in self.fields:
                sample["targets"] = torch.from_numpy(numbers)
        if "spacing_mm" in self.fields:
            sample["spacing_mm"] = torch.tensor(item.spacing_mm)
        return sample

    def _targets(self, stream: str, item: PreparedCase) -> tuple[NDArray[np.int16], float]:
        """Return the voxels that crops of a case are drawn around, and the share of such crops."""
        if stream in NODULE_STREAMS:
            return item.foreground, self.config.foreground
        if stream == "healthy":
            return self._hard.get(item.name, NOWHERE), self.config.hard_negatives
        return NOWHERE, 0.0

    def _bags(self, numbered: Sequence[tuple[int, PreparedCase]], stream: str) -> StreamBatch:
        """Draw bags of weak views, padded to the largest: `bag` and `bag_mask`."""
        size, limit = self.config.crop, self.config.bag_size
        bags = []
        for index, item in numbered:
            rng = bag_rng(self.seed, stream, index)
            foreground = item.foreground if stream in NODULE_STREAMS else NOWHERE
            windows = bag_windows(rng, item.shape, size, limit=limit, foreground=foreground)
            crops = []
            for x, y, z in windows.tolist():
                geometry = random_geometry(rng, self.augment, size, item.spacing_mm)
                image = self._image(item, (x, y, z), geometry)
                crops.append(self._make.make("weak", image, seed=int(rng.integers(2**31))))
            bags.append(torch.stack(crops))
        lengths = torch.tensor([len(bag) for bag in bags])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        return {"bag": torch.nn.utils.rnn.pad_sequence(bags, batch_first=True), "bag_mask": mask}

    def _image(self, item: PreparedCase, start: Shape, geometry: Geometry) -> NDArray[np.float32]:
        """Read a window's image, transformed and scaled to [0, 1]."""
        low, extent = _with_margin(start, geometry)
        hu = item.crop("image", low, extent).astype(np.float32)
        return scale_hu(geometry(hu, order=1), self.config.window_hu)

    def _label_fields(self, stream: str, cases: Sequence[PreparedCase]) -> list[str]:
        """Return the label maps of a stream: those it always has, and those that any case has."""
        wanted = {"mask" if name == "instances" else name for name in self.fields}
        return [
            name
            for name, field in FIELDS.items()
            if name in wanted
            and (stream in field.streams or any(name in item.files for item in cases))
        ]


def build_loader(
    streams: Mapping[str, Sequence[PreparedCase]],
    config: DataConfig,
    augment: AugmentConfig,
    *,
    seed: int,
    start_step: int,
    max_steps: int,
    rank: int = 0,
    world_size: int = 1,
    views: ViewsOf = ("weak", "strong"),
    fields: Sequence[str] = ("mask",),
    targets: Sequence[Target] = (),
    hard_negatives: HardNegatives = MappingProxyType({}),
) -> DataLoader[Batch | UserError]:
    """Load the batches of steps `start_step` to `max_steps - 1`, in order, prefetched by workers.

    Arguments are those of `StepDataset`. The loader has its own generator and leaves the global
    random state alone. In place of a batch that cannot be read it yields the `UserError`.

    Layout of a stream's batch, `B = config.batch[stream]`, for the requested views and fields:
        `weak`, `strong`: `(B, 1, X, Y, Z)` float32 in [0, 1].
        `mask`: `(B, 1, X, Y, Z)` uint8, 0, 1 or 255; labelled and healthy streams only.
        `anatomy`: `(B, 1, X, Y, Z)` uint8, if any case of the stream has it; 255 for the others.
        `instances`: `(B, 1, X, Y, Z)` uint8, the mask with one label for each nodule.
        `nodules`: `(B, N, 5)` float32, see `crop_nodules`; not of unlabelled and weak streams.
        `targets`: `(B, N, 1 + T)` float32 next to `nodules`: diameter before the zoom of the crop,
            and the numbers of targets (`Target.number`).
        `spacing_mm`: `(B, 3)` float32, the size of a voxel.
        `bag`: `(b, N, 1, X, Y, Z)` weak views, the crops of the first b = `config.bags` scans, and
            `bag_mask`: `(b, N)` bool, False for padding.
        `bag_label`: `(B,)` int64 of the whole scan, 0 or 1; all streams but unlabelled.
        `case`: names.
    """
    dataset = StepDataset(
        streams,
        config,
        augment,
        seed=seed,
        rank=rank,
        world_size=world_size,
        views=views,
        fields=fields,
        targets=targets,
        hard_negatives=hard_negatives,
    )
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=range(start_step, max_steps),
        num_workers=config.workers,
        generator=torch.Generator().manual_seed(seed),
        worker_init_fn=_ignore_stop_signals,
        persistent_workers=config.workers > 0,
    )


def _ignore_stop_signals(worker: int) -> None:
    """Let a loader worker survive the signals that stop a process group.

    A training saves before it stops, and fails if it loses a worker. SIGTERM, by which torch ends
    hanging workers, takes effect after half a minute.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(30))


def bag_label(item: PreparedCase) -> int:
    """Return the scan-level label: from role `healthy`, the manifest, or else its nodules."""
    if item.case.role == "healthy":
        return 0
    if item.case.bag_label is not None:
        return item.case.bag_label
    return int(any(not nodule.ignored for nodule in item.nodules))


def _with_margin(start: Shape, geometry: Geometry) -> tuple[Shape, Shape]:
    """Return first voxel and size of a window with its geometry's margin."""
    (x, y, z), (mx, my, mz), (sx, sy, sz) = start, geometry.margin, geometry.size
    return (x - mx, y - my, z - mz), (sx + 2 * mx, sy + 2 * my, sz + 2 * mz)


def _require_stream(stream: str, cases: Sequence[Any], config: DataConfig) -> None:
    if not cases:
        raise UserError(f"the {stream} stream has no training cases; add some, or switch it off")
    if config.batch.get(stream, 0) < 1:
        raise UserError(f"the {stream} stream is needed, but data.batch.{stream} is 0; raise it")
