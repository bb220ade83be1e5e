"""A whole training step on one large crop: the process's peak memory under each backend.

    python experiments/benchmarks/whole_lung.py [--size 256] [--depth 4]

A step is forward, Dice and cross-entropy, backward and AdamW, in fp32, of the default net at depth
4. Each size runs in a process of its own; memory is that process's peak resident set (`ru_maxrss`),
Python and torch included. Backends run small cubes, through which a line in the number of voxels is
laid; only `fused` runs the large one, through which its line goes too. What a line says of a cube
that was not run is marked so.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

GIB = 2**30
SMALL = {
    "fused": (96, 128, 160),
    "memcnn": (64, 96, 128),
    "checkpoint": (64, 96, 128),
    "plain": (64, 96, 128),
}
MULTIPLE = 8
"""Of the coarsest level's stride, so that no cube is padded."""


def step(backend: str, size: int, depth: int) -> dict[str, float]:
    """Peak GiB and seconds of one step, in this process."""
    import torch

    from semilung.losses import dice_ce_loss
    from semilung.models import ReversibleUNet3d

    torch.manual_seed(0)
    net = ReversibleUNet3d(1, 1, depth=depth, backend=backend)
    optimizer = torch.optim.AdamW(net.parameters())
    image = torch.rand(1, 1, size, size, size)
    target = (image > 0.99).float()
    start = time.perf_counter()
    dice_ce_loss(net(image), target).backward()
    optimizer.step()
    seconds = time.perf_counter() - start
    return {
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB,
        "seconds": seconds,
    }


def apart(backend: str, size: int, depth: int) -> tuple[float, float]:
    """The same in a process of its own."""
    words = ["--step", backend, "--size", str(size), "--depth", str(depth)]
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found["gib"], found["seconds"]


def line(sizes: tuple[int, ...], gib: list[float]) -> np.poly1d:
    """Memory by the number of voxels."""
    return np.poly1d(np.polyfit([size**3 for size in sizes], gib, 1))


def largest(memory: np.poly1d, limit_gib: float) -> int:
    """Side of the largest cube that fits."""
    side = 0
    while memory((side + MULTIPLE) ** 3) <= limit_gib:
        side += MULTIPLE
    return side


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(step(args.step, args.size, args.depth)))
        return
    print("| backend | cube | peak GiB | s | |\n|---|---|---|---|---|")
    lines = {}
    for backend, sizes in SMALL.items():
        sizes = (*sizes, args.size) if backend == "fused" else sizes
        gib = []
        for size in sizes:
            found, seconds = apart(backend, size, args.depth)
            gib.append(found)
            print(f"| {backend} | {size}^3 | {found:.2f} | {seconds:.1f} | |", flush=True)
        lines[backend] = line(sizes, gib)
        if args.size not in sizes:
            expected = lines[backend](args.size**3)
            print(f"| {backend} | {args.size}^3 | {expected:.2f} | | by the line |", flush=True)
    print("\n| backend | largest cube in 4 GiB | 8 GiB | 16 GiB |\n|---|---|---|---|")
    for backend, memory in lines.items():
        cubes = " | ".join(f"{largest(memory, limit)}^3" for limit in (4, 8, 16))
        print(f"| {backend} | {cubes} |")


if __name__ == "__main__":
    main()
