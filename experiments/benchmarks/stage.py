"""One reversible stage under each backend: memory, slope per coupling, time, gradients.

    python experiments/benchmarks/stage.py [--widths 16 32 64 128] [--sizes 64 96]

F and G are those of the U-Net: leaky ReLU and a 3x3x3 convolution on half the channels. Memory is
the peak of live allocations over one forward and backward pass (`reversible.py` says how it is
seen), in units of one activation of the stage, C x X x Y x Z x 4 bytes; weights and their
gradients are left out, the stage's input and the gradient that comes in are not. The slope is that
of the deepest two depths. Gradients are compared with plain autograd's, of the input and of all
weights, by their largest difference relative to the largest gradient. Depths at which `plain` would
need more than `--limit` MiB are left out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from reversible import BACKENDS, MIB, peak_bytes
from torch import Tensor, nn

from semilung.models.conv import Conv3d
from semilung.models.reversible import ReversibleStage

PLAIN_UNITS = 2.0
"""Activations that plain autograd keeps a coupling: the value of each branch's activation, twice,
and of each sum."""


def build(width: int, depth: int, backend: str) -> ReversibleStage:
    """A stage of the U-Net; the same weights for every backend."""
    torch.manual_seed(0)

    def branch() -> nn.Module:
        conv = Conv3d(width // 2, width // 2, 3, padding=1)
        conv.weight.data.mul_(0.1)
        return nn.Sequential(nn.LeakyReLU(0.01), conv)

    stage = ReversibleStage([(branch(), branch()) for _ in range(depth)], backend=backend)
    return stage.to(memory_format=torch.channels_last_3d)


def make_step(stage: ReversibleStage, x: Tensor, grad: Tensor) -> Callable[[], list[Tensor]]:
    """Forward and backward; returns the gradients of input and weights."""
    leaves = [x, *stage.parameters()]

    def step() -> list[Tensor]:
        stage(x).backward(grad)  # memcnn knows no autograd.grad
        found = [leaf.grad for leaf in leaves if leaf.grad is not None]
        for leaf in leaves:  # what a later step freed would count as memory that it gives back
            leaf.grad = None
        return found

    return step


def difference(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Largest difference, relative to the largest gradient of the same tensor."""
    pairs = zip(found, wanted, strict=True)
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


def measure(width: int, size: int, depth: int, repeats: int) -> dict[str, tuple[float, ...]]:
    """Backend to `(peak in units, median seconds, difference of gradients)`."""
    shape = (1, width, size, size, size)
    x, grad = (torch.randn(shape).contiguous(memory_format=torch.channels_last_3d) for _ in "xg")
    x.requires_grad_()
    unit = x.numel() * x.element_size()
    steps = {name: make_step(build(width, depth, name), x, grad) for name in BACKENDS}
    wanted = steps["plain"]()
    apart = {name: difference(step(), wanted) for name, step in steps.items()}
    weights = sum(g.numel() * g.element_size() for g in wanted[1:])
    del wanted
    # besides what a step allocates, the caller holds the input and the gradient that comes in
    peaks = {name: (peak_bytes(step) - weights) / unit + 2 for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in BACKENDS}
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.process_time()
            step()
            times[name].append(time.process_time() - start)
    return {n: (peaks[n], statistics.median(times[n]), apart[n]) for n in BACKENDS}


def rows(width: int, size: int, args: argparse.Namespace) -> None:
    """Print the rows of one width and size."""
    unit = width * size**3 * 4 / MIB
    depths = [d for d in args.depths if PLAIN_UNITS * d * unit <= args.limit]
    found = {depth: measure(width, size, depth, args.repeats) for depth in depths}
    for depth, backends in found.items():
        plain, memcnn = backends["plain"], backends["memcnn"]
        for name, (peak, seconds, apart) in backends.items():
            print(
                f"| {width} | {size}^3 | {depth} | {name} | {peak:.2f} | {peak / plain[0]:.3f} "
                f"| {seconds / plain[1]:.2f} | {seconds / memcnn[1]:.2f} | {apart:.0e} |",
                flush=True,
            )
    for less, more in list(pairwise(depths))[-1:]:
        slopes = (
            f"{name} {(found[more][name][0] - found[less][name][0]) / (more - less):.2f}"
            for name in BACKENDS
        )
        print(
            f"| {width} | {size}^3 | {less} to {more} | slope: {', '.join(slopes)} | | | | | |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--limit", type=float, default=520, help="MiB")
    args = parser.parse_args()
    print(
        "| width | size | couplings | backend | peak, activations | memory / plain "
        "| CPU time / plain | CPU time / memcnn | gradients apart |\n" + "|---" * 9 + "|"
    )
    for size in args.sizes:
        for width in args.widths:
            rows(width, size, args)


if __name__ == "__main__":
    main()
