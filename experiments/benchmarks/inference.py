"""Whole scans by sliding window: ours, with and without lungs, against MONAI's inferer.

    SEMILUNG_DATA=... python experiments/benchmarks/inference.py [--spacing 2] [--repeats 3]

The same untrained net, window, overlap, weights and windows a pass; MONAI is given the scaled scan,
ours the one in HU. Rounds are interleaved: read the ratios. Memory is the peak of torch's live
allocations, less the result (`reversible.py` says how it is seen). "Within the lungs" is the
largest difference from MONAI's probability in the blocks that hold lung.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from reversible import MIB, peak_bytes
from torch import Tensor, nn

from semilung.data import DataConfig, Volume, read_volume, resample_onto, scale_hu
from semilung.data.lungs import BLOCK
from semilung.data.prepare import prepared_image
from semilung.inference import foreground_probability, predict_probability
from semilung.models import build_model

T = TypeVar("T")
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


def ways(
    net: nn.Module, hu: np.ndarray, lungs: np.ndarray | None, data: DataConfig, window: int
) -> dict[str, Callable[[], Tensor]]:
    """Each way to the probability of a prepared scan."""
    size = (window,) * 3

    def by_monai() -> Tensor:
        inferer = SlidingWindowInferer(size, BATCH, OVERLAP, mode="gaussian")
        image = torch.from_numpy(scale_hu(hu, data.window_hu))[None, None]
        with torch.no_grad():
            found: Tensor = inferer(image, lambda x: foreground_probability(net(x)["logits"]))
        return found[0, 0]

    def ours(known: np.ndarray | None) -> Tensor:
        options = {"overlap": OVERLAP, "batch_size": BATCH, "window_hu": data.window_hu}
        return predict_probability(net, torch.from_numpy(hu), window=size, lungs=known, **options)

    return {
        "MONAI SlidingWindowInferer": by_monai,
        "ours, all windows": lambda: ours(None),
        "ours, windows with lung": lambda: ours(lungs),
    }


def measure(path: Path, net: Counted, args: argparse.Namespace) -> None:
    """Print the rows of one scan, and where the seconds of its prediction go."""
    data = DataConfig(spacing_mm=(args.spacing,) * 3)
    scan, reading = timed(lambda: read_volume(path))
    (volume, lungs), preparing = timed(lambda: prepared_image(scan, data, name=path.name))
    all_ways = ways(net, volume.data, lungs, data, args.window)
    peaks = {name: peak_bytes(way) / MIB for name, way in all_ways.items()}
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
    reference = results["MONAI SlidingWindowInferer"]
    inside = torch.from_numpy(within(lungs, volume.shape))
    base = statistics.median(seconds["MONAI SlidingWindowInferer"])
    for name, found in results.items():
        spent, of_net = statistics.median(seconds[name]), statistics.median(nets[name])
        off = (found - reference).abs()[inside].max().item()
        memory = peaks[name] - found.numel() * 4 / MIB
        print(
            f"| {path.name[:10]} | {name} | {windows[name]} | {spent:.2f} | {spent / base:.2f} "
            f"| {spent - of_net:.2f} | {memory:.0f} | {off:.1e} |",
            flush=True,
        )
    back = Volume(found.numpy(), volume.affine)
    _, returning = timed(lambda: resample_onto(back, scan.shape, scan.affine, order=1, fill=0.0))
    print(
        f"| {path.name[:10]} | reading {reading:.2f} s, preparing {preparing:.2f} s, back onto the "
        f"scan's grid {returning:.2f} s; prepared {'x'.join(map(str, volume.shape))} | | | | | | |"
    )


def within(lungs: np.ndarray | None, shape: tuple[int, int, int]) -> np.ndarray:
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
        "| scan | way | windows | s | time / MONAI | s beside the net | MiB beside the result "
        "| off within the lungs |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    for name in ("lidc_0132_ct", "normal_001_ct"):
        measure(Path(os.environ["SEMILUNG_DATA"]) / "scans" / f"{name}.nii.gz", net, args)


if __name__ == "__main__":
    main()
