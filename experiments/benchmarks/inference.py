"""Whole scans in one pass, in parts and by sliding windows, against MONAI's inferer.

    SEMILUNG_DATA=... python experiments/benchmarks/inference.py RUN [--window 48] [--repeats 3]

The network of a run predicts a scan with nodules and a healthy one. MONAI is given the scan cut to
the lungs and scaled, and predicts it by windows with Gaussian weights at its usual overlap of 0.5;
ours is given the same scan in HU. Rounds are interleaved: read the ratios. Memory is the peak of
what torch and numpy allocate, less the result; the scaled scan, which MONAI needs whole, is part of
it. Dice and false positives are those of the mask at the run's threshold; all are cut to the
neighbourhood of the lungs, so that the ways differ in nothing but the prediction.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from reversible import MIB, peak_bytes
from torch import nn

from semilung.data import DataConfig, read_volume, resample_onto, scale_hu
from semilung.data.cache.prepare import prepared_image
from semilung.data.io.volume import Volume
from semilung.evaluation import dice, false_positives
from semilung.inference import InferenceConfig, Predictor, foreground_probability
from semilung.runs import load_run_config
from semilung.runs.load import load_predictor

SCANS = ("lidc_0132", "normal_001")
Way = Callable[[], np.ndarray]


def ways(net: nn.Module, hu: np.ndarray, lungs: np.ndarray | None, data: DataConfig, window: int,
         parts_gib: float) -> dict[str, Way]:  # fmt: skip
    """Each way to the probability of a prepared scan."""

    def by_monai() -> np.ndarray:
        inferer = SlidingWindowInferer((window,) * 3, 4, 0.5, mode="gaussian")
        image = torch.from_numpy(scale_hu(hu, data.window_hu))[None, None]
        with torch.no_grad():
            probability = inferer(image, lambda x: foreground_probability(net(x)["logits"]))
        return probability[0, 0].numpy()

    def ours(**settings: object) -> Way:
        predictor = Predictor([net], InferenceConfig(**settings), data)
        return lambda: predictor.maps(hu, lungs=lungs)["logits"][0].numpy()

    return {
        "MONAI, windows": by_monai,
        "ours, windows": ours(window=(window,) * 3),
        "ours, one pass": ours(memory_gib=1000.0),
        f"ours, parts in {parts_gib:g} GiB": ours(memory_gib=parts_gib),
    }


def peak_mib(way: Way) -> float:
    """The peak of torch's allocations, and of numpy's, which may lie at another moment."""
    tracemalloc.start()
    tensors = peak_bytes(way)
    arrays = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (tensors + arrays) / MIB


def reference_of(name: str, folder: Path, grid: Volume) -> np.ndarray:
    """The nodules of a scan on the prepared grid; empty for a healthy one."""
    path = folder / f"{name}_nodules.nii.gz"
    if not path.exists():
        return np.zeros(grid.shape, np.uint8)
    nodules = read_volume(path)
    share = Volume((nodules.data > 0).astype(np.float32), nodules.affine)
    on_grid = resample_onto(share, grid.shape, grid.affine, order=1, fill=0.0)
    return (on_grid.data >= 0.5).astype(np.uint8)


def measure(name: str, net: nn.Module, data: DataConfig, args: argparse.Namespace) -> None:
    """Print the rows of one scan."""
    folder = Path(os.environ["SEMILUNG_DATA"]) / "scans"
    scan = read_volume(folder / f"{name}_ct.nii.gz")
    prepared, lungs = prepared_image(scan, data, name=name)
    reference = reference_of(name, folder, prepared)
    all_ways = ways(net, prepared.data, lungs, data, args.window, args.parts_gib)
    peaks = {way: peak_mib(run) for way, run in all_ways.items()}
    seconds: dict[str, list[float]] = {way: [] for way in all_ways}
    probabilities = {}
    for _ in range(args.repeats):
        for way, run in all_ways.items():
            start = time.perf_counter()
            probabilities[way] = run()
            seconds[way].append(time.perf_counter() - start)
    near_lungs = probabilities["ours, one pass"] > 0
    base = statistics.median(seconds["MONAI, windows"])
    for way, probability in probabilities.items():
        kept = ((probability > args.threshold) & near_lungs).astype(np.uint8)
        false = false_positives(kept, prepared.spacing_mm, reference)
        spent = statistics.median(seconds[way])
        overlap = f"{dice(kept, reference):.3f}" if reference.any() else "-"
        print(
            f"| {name} {'x'.join(map(str, prepared.shape))} | {way} | {spent:.1f} "
            f"| {base / spent:.1f} | {peaks[way] - probability.nbytes / MIB:.0f} | {overlap} "
            f"| {false.volume_mm3 / 1000:.1f} | {false.components:.0f} |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--window", type=int, default=48)
    parser.add_argument("--parts-gib", type=float, default=0.5)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    config = load_run_config(args.run)
    net = load_predictor(args.run).cpu()
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {config.model}, windows of "
        f"{args.window}^3, threshold {args.threshold:g}\n\n"
        "| scan | way | s | times as fast as MONAI | MiB without the result | Dice "
        "| false positives, ml | components |\n|---|---|--:|--:|--:|--:|--:|--:|",
        flush=True,
    )
    for name in SCANS:
        measure(name, net, config.data, args)


if __name__ == "__main__":
    main()
