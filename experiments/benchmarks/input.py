"""Crops a second from whole scans: our cache against MONAI's loading and its PersistentDataset.

    SEMILUNG_DATA=... python experiments/benchmarks/input.py [--repeats 5] [--steps 6]

Every way draws 40^3 crops of the same two chest CTs, image and mask, scaled to [0, 1], in one
process. MONAI's ways read the scan on its own grid and change no intensities; ours makes the weak
view, with its noise, of the scan at 1 mm. Rounds are interleaved, so read the ratios. The second
table is a training with one loader process: how long a step waits for its batch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch
from monai.data import PersistentDataset
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    RandCropByPosNegLabeld,
    RandSpatialCropd,
    ScaleIntensityRanged,
)

from semilung.data import (
    AugmentConfig,
    Case,
    DataConfig,
    PreparedCase,
    StepDataset,
    build_loader,
    prepare,
)
from semilung.losses import dice_ce_loss, healthy_loss
from semilung.models import ReversibleUNet3d

CROP = (40, 40, 40)
Draw = Callable[[], int]


def scans() -> list[Case]:
    """A labelled scan and a healthy one."""
    folder = Path(os.environ["SEMILUNG_DATA"]) / "scans"
    nodules = folder / "lidc_0132_nodules.nii.gz"
    return [
        Case("lidc", "lidc", folder / "lidc_0132_ct.nii.gz", "labelled", nodules, split="train"),
        Case("normal", "normal", folder / "normal_001_ct.nii.gz", "healthy", split="train"),
    ]


def ours(item: PreparedCase, config: DataConfig) -> Draw:
    """Crops of one prepared scan as training sees them: window, weak view, mask."""
    stream = item.case.role
    still = AugmentConfig(affine_probability=0)
    dataset = StepDataset({stream: [item]}, config, still, seed=0, views=("weak",))
    steps = count()

    def draw() -> int:
        batch = dataset[next(steps)]
        assert isinstance(batch, dict)
        return len(batch[stream]["weak"])

    return draw


def monai_ways(case: Case, folder: Path, samples: int) -> dict[str, Draw]:
    """MONAI: the whole scan for every `samples` crops, from its file or from a cache of tensors."""
    files = {"image": str(case.image)} | ({"mask": str(case.mask)} if case.mask else {})
    keys = list(files)
    load = [
        LoadImaged(keys),
        EnsureChannelFirstd(keys),
        ScaleIntensityRanged("image", -1000, 400, 0, 1, clip=True),
    ]
    if case.mask:
        name = "RandCropByPosNegLabel"
        crop = RandCropByPosNegLabeld(keys, "mask", CROP, pos=1, neg=1, num_samples=samples)
    else:
        name, samples = "RandSpatialCrop", 1
        crop = RandSpatialCropd(keys, CROP, random_size=False)
    chain, cached = Compose([*load, crop]), PersistentDataset([files], [*load, crop], folder)

    def crops(found: object) -> int:
        return len(found) if isinstance(found, list) else 1

    return {
        f"MONAI LoadImage + {name}, {samples} a load": lambda: crops(chain(files)),
        f"MONAI PersistentDataset + {name}, {samples} a load": lambda: crops(cached[0]),
    }


def rates(ways: dict[str, Draw], repeats: int) -> dict[str, float]:
    """Median crops a second of each way; a round of ours is as long as the loads next to it."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # caches are filled
    for _ in range(repeats):
        for name, way in ways.items():
            crops, start = 0, time.perf_counter()
            while crops == 0 or time.perf_counter() - start < 0.5:
                crops += way()
            found[name].append(crops / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in found.items()}


def compare(folder: Path, repeats: int) -> dict[float, list[PreparedCase]]:
    """Print the first table; returns the prepared scans by spacing."""
    prepared: dict[float, list[PreparedCase]] = {}
    cases = scans()
    for mm in (2.0, 1.0):
        config = DataConfig(cache=str(folder / "cache"), spacing_mm=(mm, mm, mm), crop=CROP)
        prepared[mm] = prepare(cases, config, progress=False, processes=0)
    print("| scan | way | crops a second | ours at 1 mm / it |\n|---|---|---|---|")
    for number, case in enumerate(cases):
        ways = {}
        for mm, items in prepared.items():
            size = "x".join(map(str, items[number].shape))
            ways[f"ours, {mm:g} mm, {size}"] = ours(items[number], config)
        for samples in (1, 4) if case.mask else (1,):
            ways |= monai_ways(case, folder / f"{case.case}{samples}", samples)
        found = rates(ways, repeats)
        best = next(rate for name, rate in found.items() if name.startswith("ours, 1 mm"))
        for name, rate in found.items():
            print(f"| {case.case} | {name} | {rate:.2f} | {best / rate:.2f} |", flush=True)
    return prepared


def waiting(items: list[PreparedCase], steps: int) -> None:
    """Print the second table: seconds of a step of the default net and of the wait before it."""
    config = DataConfig(crop=CROP, workers=1)
    labelled, healthy = items
    streams = {"labelled": [labelled], "unlabelled": [labelled], "healthy": [healthy]}
    net = ReversibleUNet3d(1, 1)
    optimizer = torch.optim.AdamW(net.parameters())
    loader = build_loader(
        streams, config, AugmentConfig(), seed=0, start_step=0, max_steps=steps + 2
    )
    waits, works = [], []
    batches = iter(loader)
    for _ in range(steps + 2):
        start = time.perf_counter()
        batch = next(batches)
        ready = time.perf_counter()
        assert isinstance(batch, dict)
        optimizer.zero_grad()
        seen = torch.cat([batch[s]["weak"] for s in streams] + [batch["unlabelled"]["strong"]])
        parts = net(seen).split([config.batch[s] for s in streams] + [config.batch["unlabelled"]])
        loss = dice_ce_loss(parts[0], batch["labelled"]["mask"]) + healthy_loss(parts[2])
        (loss + (parts[1].sigmoid() - parts[3].sigmoid()).square().mean()).backward()
        optimizer.step()
        waits.append(ready - start)
        works.append(time.perf_counter() - ready)
    wait, work = statistics.median(waits[2:]), statistics.median(works[2:])
    print("\n| one worker, 14 crops a step | s |\n|---|---|")
    print(f"| waiting for the batch | {wait:.4f} |\n| forward, backward, optimizer | {work:.3f} |")
    print(f"| share of a step spent waiting | {wait / (wait + work):.2%} |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, {args.repeats} rounds\n")
    with tempfile.TemporaryDirectory() as name:
        prepared = compare(Path(name), args.repeats)
        waiting(prepared[1.0], args.steps)


if __name__ == "__main__":
    main()
