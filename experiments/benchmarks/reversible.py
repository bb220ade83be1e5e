"""Peak memory and step time of the reversible U-Net under each backend.

    python experiments/benchmarks/reversible.py [--size 64] [--depths 1 2 4] [--channels-last]

Memory is the peak of live allocator bytes over one forward and backward pass, parameters and
gradients included, cumulated from the profiler's `[memory]` events (what the convolution library
allocates for itself is not seen). Time is the median over interleaved repetitions, as a ratio to
`plain` within the same run, since absolute times on a shared machine say little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from semilung.models import ReversibleUNet3d

BACKENDS = ("plain", "checkpoint", "memcnn", "fused")
MIB = 2**20


def peak_bytes(step: Callable[[], object]) -> int:
    """Peak of the bytes allocated, less those freed, since the start of `step`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        step()
    live = peak = 0
    # start order; the public events carry the sizes of operators, not of single allocations
    events = trace.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def build_step(net: ReversibleUNet3d, x: Tensor) -> Callable[[], None]:
    """One training pass without the optimizer; gradients are allocated anew."""

    def step() -> None:
        net.zero_grad(set_to_none=True)
        net(x).square().mean().backward()

    return step


def measure(args: argparse.Namespace, depth: int) -> list[tuple[str, float, float]]:
    """`(backend, peak MiB, median seconds)` of each backend at one depth."""
    layout = torch.channels_last_3d if args.channels_last else torch.contiguous_format
    x = torch.randn(args.batch, 1, *[args.size] * 3).contiguous(memory_format=layout)
    steps, peaks = {}, {}
    for backend in BACKENDS:
        torch.manual_seed(0)
        net = ReversibleUNet3d(1, 1, widths=args.widths, depth=depth, backend=backend)
        net = net.to(memory_format=layout)
        weights = sum(p.numel() * p.element_size() for p in net.parameters())
        steps[backend] = build_step(net, x)
        steps[backend]()  # warm up
        net.zero_grad(set_to_none=True)
        peaks[backend] = (peak_bytes(steps[backend]) + weights) / MIB
    times: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
    for _ in range(args.repeats):
        for backend, step in steps.items():
            start = time.perf_counter()
            step()
            times[backend].append(time.perf_counter() - start)
    return [(b, peaks[b], statistics.median(times[b])) for b in BACKENDS]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--channels-last", action="store_true")
    args = parser.parse_args()
    layout = "channels_last_3d" if args.channels_last else "contiguous"
    print(
        f"Widths {' '.join(map(str, args.widths))}, {args.size}^3, batch {args.batch}, {layout}, "
        f"{args.repeats} repetitions, {torch.get_num_threads()} threads.\n\n"
        "| depth | backend | peak MiB | memory / plain | step s | time / plain |\n"
        "|---|---|---|---|---|---|"
    )
    for depth in args.depths:
        rows = measure(args, depth)
        _, plain_peak, plain_time = rows[0]
        for backend, peak, seconds in rows:
            print(
                f"| {depth} | {backend} | {peak:.0f} | {peak / plain_peak:.3f} "
                f"| {seconds:.2f} | {seconds / plain_time:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
