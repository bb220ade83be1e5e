"""Batches by step: item t of the data set is everything that step t trains on."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from itertools import product
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
from semilung.data.loading.intensity import scale_hu
from semilung.data.loading.packed_cases import PackedCases
from semilung.data.loading.sampling import bag_rng, draw, random_nodule, random_window, sample_rng
from semilung.data.manifest.fields import FIELDS
from semilung.data.manifest.nodules import UNMEASURED_MM
from semilung.types import IGNORE, Batch, StreamBatch, UserError

ViewsOf: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]
"""Views of every stream alike, or of each stream by its name."""


class StepDataset(Dataset["Batch | UserError"]):
    """Item t is the whole batch of step t for this process: a pure function of (seed, t).

    Sample j of stream s at step t has the global index `t * B_s * world_size + rank * B_s + j`,
    so processes never share a sample and together draw what one process with their batch would.

    Args:
        streams: Stream name to its training cases.
        config: Crop, window, batch sizes and sampling.
        augment: How crops and views vary.
        seed: Of the run.
        rank: Of this process.
        world_size: Number of processes.
        views: Of `weak`, `strong`, `bag`, for all streams or by stream.
        fields: Of `mask`, `anatomy`, `instances`, `nodules`, `bag_label`.

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
    ) -> None:
        self.config, self.augment = config, augment
        self.seed, self.rank, self.world_size = seed, rank, world_size
        named = views if isinstance(views, Mapping) else dict.fromkeys(streams, views)
        self.views = {stream: tuple(named[stream]) for stream in streams}
        self.fields = tuple(fields)
        self._make = Views(augment, window_hu=config.window_hu, size=config.crop)
        for stream, cases in streams.items():
            _require_stream(stream, cases, config)
        self._labels = {stream: self._label_fields(stream, streams[stream]) for stream in streams}
        self._cases = {stream: PackedCases(cases) for stream, cases in streams.items()}

    def __getitem__(self, step: int) -> Batch | UserError:
        try:
            return {stream: self._stream(stream, step) for stream in self._cases}
        except UserError as error:
            # as a value: torch wraps what a worker raises in the worker's traceback
            return error

    def _stream(self, stream: str, step: int) -> StreamBatch:
        size = self.config.batch[stream]
        first = (step * self.world_size + self.rank) * size
        cases = self._cases[stream]
        chosen = [cases[draw(self.seed, stream, first + j, len(cases))] for j in range(size)]
        samples = [self._sample(stream, first + j, item) for j, item in enumerate(chosen)]
        batch: StreamBatch = {
            key: _padded([s[key] for s in samples])
            if key == "nodules"
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
        """One crop: its window, its geometry, then its views and labels."""
        rng, size = sample_rng(self.seed, stream, index), self.config.crop
        share = self.config.foreground if stream == "labelled" else 0.0
        nodule = random_nodule(rng, item.foreground, share)
        diameter_mm = None if nodule is None else float(item.diameters_mm[nodule])
        geometry = random_geometry(
            rng, self.augment, size, item.spacing_mm, diameter_mm=diameter_mm
        )
        start = random_window(
            rng,
            item.shape,
            size,
            overhang=self.config.overhang,
            voxel=None if nodule is None else item.foreground[nodule],
            zoom=geometry.zoom,
        )
        seeds = dict(zip(("weak", "strong"), rng.integers(2**31, size=2).tolist(), strict=True))
        image = self._image(item, start, geometry)
        views = [view for view in self.views[stream] if view != "bag"]
        sample = {v: self._make.make(v, image, seed=seeds[v]) for v in views}
        low, extent = _read(start, geometry)
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
        if "nodules" in self.fields and stream in ("labelled", "healthy"):
            sample["nodules"] = torch.from_numpy(_nodules_in(item, low, geometry))
        return sample

    def _bags(self, numbered: Sequence[tuple[int, PreparedCase]], stream: str) -> StreamBatch:
        """Bags of weak views, padded to the largest: `bag` and `bag_mask`."""
        size, limit = self.config.crop, self.config.bag_size
        bags = []
        for index, item in numbered:
            rng = bag_rng(self.seed, stream, index)
            foreground = item.foreground if stream == "labelled" else item.foreground[:0]
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
        """A window's image in [0, 1], after its geometry."""
        low, extent = _read(start, geometry)
        hu = item.crop("image", low, extent).astype(np.float32)
        return scale_hu(geometry(hu, order=1), self.config.window_hu)

    def _label_fields(self, stream: str, cases: Sequence[PreparedCase]) -> list[str]:
        """Label maps of a stream: those that it always has, and those that any case names."""
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
) -> DataLoader[Batch | UserError]:
    """Batches of steps `start_step` to `max_steps - 1`, in order, prefetched by workers.

    See `StepDataset` for what a batch is. The loader has its own generator, so the global random
    state is the same whether it is used or not. A batch that cannot be read comes as the
    `UserError` that says why.

    Layout of a stream's batch, `B = config.batch[stream]`:
        `weak`, `strong`: `(B, 1, X, Y, Z)` float32 in [0, 1], as asked.
        `mask`: `(B, 1, X, Y, Z)` uint8, 0, 1 or 255; labelled and healthy streams only.
        `anatomy`: `(B, 1, X, Y, Z)` uint8, where any case of the stream names it; 255 where not.
        `instances`: `(B, 1, X, Y, Z)` uint8, the mask with a label a nodule.
        `nodules`: `(B, N, 5)` float32, padded with NaN; labelled and healthy streams only. Of every
            nodule whose ball touches the crop: its centre in voxels of the crop (x, y, z), its
            diameter in mm (NaN where unknown) after the crop's zoom, and 1, or 0 where ignored.
        `bag`: `(b, N, 1, X, Y, Z)` weak views, the crops of the first b = `config.bags` scans, and
            `bag_mask`: `(b, N)` bool, which of them are there; as asked.
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
    )
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=range(start_step, max_steps),
        num_workers=config.workers,
        generator=torch.Generator().manual_seed(seed),
        worker_init_fn=_outlast,
        persistent_workers=config.workers > 0,
    )


def _outlast(worker: int) -> None:
    """Let a worker outlast what asks a whole group of processes to stop.

    A training asked to stop saves first, and would fail if it lost a worker. SIGTERM, with which
    torch ends workers that do not end by themselves, takes effect half a minute later.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(30))


def bag_label(item: PreparedCase) -> int:
    """Whether a scan holds a nodule: as the manifest says, else as its role or mask does."""
    if item.case.role == "healthy":
        return 0
    if item.case.bag_label is not None:
        return item.case.bag_label
    return int(len(item.foreground) > 0)


def _nodules_in(item: PreparedCase, low: Shape, geometry: Geometry) -> NDArray[np.float32]:
    """Nodules of a crop, `(N, 5)`: centre in voxels, diameter in mm, whether certain.

    Beyond its borders a volume goes on mirrored, and its nodules with it.
    """
    rows = [
        [*copy, nodule.diameter_mm or np.nan, float(not nodule.ignored)]
        for nodule in item.nodules
        for copy in product(
            *((v, -1 - v, 2 * n - 1 - v) for v, n in zip(nodule.voxel, item.shape, strict=True))
        )
    ]
    nodules = np.array(rows, np.float64).reshape(-1, 5)
    nodules[:, :3] = geometry.points(nodules[:, :3] - low)
    nodules[:, 3] *= geometry.zoom
    radius_mm = np.nan_to_num(nodules[:, 3:4], nan=UNMEASURED_MM) / 2
    beyond = np.maximum(-nodules[:, :3], nodules[:, :3] - np.array(geometry.size) + 1)
    near = (beyond * item.spacing_mm <= radius_mm).all(axis=1)
    return np.asarray(nodules[near], np.float32)


def _padded(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """`(N_i, 5)` tensors as one `(B, N, 5)`, padded with NaN."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=torch.nan)


def _read(start: Shape, geometry: Geometry) -> tuple[Shape, Shape]:
    """First voxel and size of what is read for a window, the geometry's margin included."""
    (x, y, z), (mx, my, mz), (sx, sy, sz) = start, geometry.margin, geometry.size
    return (x - mx, y - my, z - mz), (sx + 2 * mx, sy + 2 * my, sz + 2 * mz)


def _require_stream(stream: str, cases: Sequence[Any], config: DataConfig) -> None:
    if not cases:
        raise UserError(f"the {stream} stream has no training cases; add some, or switch it off")
    if config.batch.get(stream, 0) < 1:
        raise UserError(f"the {stream} stream is asked for, but data.batch.{stream} is 0; raise it")
