"""Whole scans by sliding window: ours, with and without lungs, against MONAI's inferer.

    SEMILUNG_DATA=... python experiments/benchmarks/inference.py [--spacing 2] [--repeats 3]

The same untrained net, window, overlap, weights and windows a pass; MONAI is given the scaled scan,
ours the one in HU, which preparation has cut to the lungs. Rounds are interleaved: read the ratios,
to MONAI on the whole scan. Memory is the peak of what torch and numpy allocate, less the result;
the scaled scan, which MONAI needs whole, is part of it. "Within the lungs" is the largest
difference from MONAI's probability on the same cut scan, in the blocks that hold lung.

The second table says what skipping can save: how many windows there are, and what share of the cut
scan's blocks holds lung, below which no windows of any size can get.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from reversible import MIB, peak_bytes
from torch import Tensor, nn

from semilung.data import DataConfig, Volume, read_volume, resample_onto, scale_hu
from semilung.data.cache.prepare import prepared_image
from semilung.data.content.lungs import BLOCK
from semilung.inference import foreground_probability, predict_probability
from semilung.inference.windows import touching, window_starts
from semilung.models import build_model

T = TypeVar("T")
Blocks = np.ndarray | None
BATCH, OVERLAP = 4, 0.5


class Counted(nn.Module):
    """A net that counts its windows and its seconds."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.windows, self.seconds = net, 0, 0.0

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The net's outputs."""
        start = time.perf_counter()
        out: dict[str, Tensor] = self.net(x)
        self.windows, self.seconds = (
            self.windows + len(x),
            self.seconds + time.perf_counter() - start,
        )
        return out


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Its result and its seconds."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def peak_mib(work: Callable[[], object]) -> float:
    """The peak of torch's allocations, and of numpy's, which may lie at another moment."""
    tracemalloc.start()
    tensors = peak_bytes(work)
    arrays = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (tensors + arrays) / MIB


Ways = dict[str, Callable[[], Tensor]]
WHOLE, CUT = "MONAI, whole scan", "MONAI, cut to the lungs"


def ways(
    net: nn.Module, whole: Volume, cut: Volume, lungs: Blocks, data: DataConfig, window: int
) -> Ways:
    """Each way to the probability of a prepared scan."""
    size = (window,) * 3

    def by_monai(hu: np.ndarray) -> Tensor:
        inferer = SlidingWindowInferer(size, BATCH, OVERLAP, mode="gaussian")
        image = torch.from_numpy(scale_hu(hu, data.window_hu))[None, None]
        with torch.no_grad():
            found: Tensor = inferer(image, lambda x: foreground_probability(net(x)["logits"]))
        return found[0, 0]

    def ours(known: Blocks) -> Tensor:
        options = {"overlap": OVERLAP, "batch_size": BATCH, "window_hu": data.window_hu}
        image = torch.from_numpy(cut.data)
        return predict_probability(net, image, window=size, lungs=known, **options)

    return {
        WHOLE: lambda: by_monai(whole.data),
        CUT: lambda: by_monai(cut.data),
        "ours, all windows": lambda: ours(None),
        "ours, windows with lung": lambda: ours(lungs),
    }


def measure(path: Path, net: Counted, args: argparse.Namespace) -> None:
    """Print the rows of one scan, and where the seconds of its prediction go."""
    data = DataConfig(spacing_mm=(args.spacing,) * 3)
    scan, reading = timed(lambda: read_volume(path))
    (cut, lungs), preparing = timed(lambda: prepared_image(scan, data, name=path.name))
    whole, _ = prepared_image(scan, replace(data, crop_to_lungs=False), name=path.name)
    all_ways = ways(net, whole, cut, lungs, data, args.window)
    peaks = {name: peak_mib(way) for name, way in all_ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in all_ways}
    nets: dict[str, list[float]] = {name: [] for name in all_ways}
    results, windows = {}, {}
    for _ in range(args.repeats):
        for name, way in all_ways.items():
            net.windows, net.seconds = 0, 0.0
            results[name], spent = timed(way)
            seconds[name].append(spent)
            nets[name].append(net.seconds)
            windows[name] = net.windows
    inside = torch.from_numpy(within(lungs, cut.shape))
    base = statistics.median(seconds[WHOLE])
    for name, found in results.items():
        spent, of_net = statistics.median(seconds[name]), statistics.median(nets[name])
        off = "" if name == WHOLE else f"{(found - results[CUT]).abs()[inside].max().item():.1e}"
        memory = peaks[name] - found.numel() * 4 / MIB
        print(
            f"| {path.name[:10]} | {name} | {windows[name]} | {spent:.2f} | {spent / base:.2f} "
            f"| {spent - of_net:.2f} | {memory:.0f} | {off} |",
            flush=True,
        )
    back = Volume(found.numpy(), cut.affine)
    _, returning = timed(lambda: resample_onto(back, scan.shape, scan.affine, order=1, fill=0.0))
    print(
        f"| {path.name[:10]} | reading {reading:.2f} s, preparing {preparing:.2f} s, back onto the "
        f"scan's grid {returning:.2f} s; prepared {'x'.join(map(str, cut.shape))} | | | | | | |"
    )


def count(path: Path) -> None:
    """Print how many windows there are, and how many of them have to be looked at."""
    scan = read_volume(path)
    for spacing in (2.0, 1.0):
        data = DataConfig(spacing_mm=(spacing,) * 3)
        cut, lungs = prepared_image(scan, data, name=path.name)
        whole, _ = prepared_image(scan, replace(data, crop_to_lungs=False), name=path.name)
        assert lungs is not None
        for edge in (64, 48, 32):
            size = (edge,) * 3
            starts = window_starts(cut.shape, size, OVERLAP)
            before, after = len(window_starts(whole.shape, size, OVERLAP)), len(starts)
            kept = len(touching(starts, size, lungs))
            print(
                f"| {path.name[:10]} | {spacing:g} mm | {edge}^3 | {before} | {after} | {kept} "
                f"| {kept / before:.2f} | {lungs.mean():.2f} |",
                flush=True,
            )


def within(lungs: Blocks, shape: tuple[int, int, int]) -> np.ndarray:
    """Voxels of the blocks that hold lung; all where none are known."""
    if lungs is None:
        return np.ones(shape, bool)
    whole = lungs.repeat(BLOCK, 0).repeat(BLOCK, 1).repeat(BLOCK, 2)
    return whole[tuple(slice(0, n) for n in shape)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spacing", type=float, default=2.0, help="mm of the prepared scan")
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = build_model("reversible_unet", {"widths": args.widths})
    net = Counted(model).eval()
    print(
        f"{os.cpu_count()} cores, torch {torch.__version__}, widths {args.widths}, windows of "
        f"{args.window}^3, {BATCH} a pass, overlap {OVERLAP}, {args.spacing:g} mm\n\n"
        "| scan | way | windows | s | time / MONAI | s without the net | MiB without the result "
        "| off within the lungs |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    folder = Path(os.environ["SEMILUNG_DATA"]) / "scans"
    scans = [folder / f"{name}.nii.gz" for name in ("lidc_0132_ct", "normal_001_ct")]
    for path in scans:
        measure(path, net, args)
    print(
        "\n| scan | spacing | window | whole scan | cut to the lungs | with lung | share looked at "
        "| share of blocks with lung |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    for path in scans:
        count(path)


if __name__ == "__main__":
    main()
