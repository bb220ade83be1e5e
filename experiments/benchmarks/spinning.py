"""A training of two threads on a quiet and on a busy machine, with and without spinning threads.

    python experiments/benchmarks/spinning.py [--steps 12] [--rounds 3]

OpenMP's threads wait for each other at the end of every parallel loop. By default libgomp's spin
for a while, which takes the processor from the one that they wait for where another process is at
work. `semilung` sets OMP_WAIT_POLICY=passive unless the environment has it. Each measurement is a
process of its own, for libgomp reads the environment once. States are interleaved and the busy
process is ours, so read the ratios: other programs make the quiet state less quiet.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

WAYS: dict[str, dict[str, str]] = {
    "libgomp's default, 2 threads": {"OMP_NUM_THREADS": "2"},
    "OMP_WAIT_POLICY=passive, 2 threads": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
    "GOMP_SPINCOUNT=1000, 2 threads": {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "1000"},
    "1 thread": {"OMP_NUM_THREADS": "1"},
}
STATES = {"quiet": 0, "one busy process": 1}
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def steps_per_second(steps: int) -> float:
    """Optimizer steps of a small reversible U-Net, the data left out."""
    import torch

    from semilung.models import build_model

    torch.manual_seed(0)
    model = build_model("reversible_unet", {"widths": (8, 16, 32), "depth": 1})
    optimizer = torch.optim.AdamW(model.parameters())
    image = torch.rand(2, 1, 32, 32, 32)
    began = 0.0
    for step in range(steps + 2):
        if step == 2:  # the first ones make the threads and their memory
            began = time.perf_counter()
        optimizer.zero_grad()
        model(image)["logits"].mean().backward()
        optimizer.step()
    return steps / (time.perf_counter() - began)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that compute for nothing."""
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measured(way: dict[str, str], steps: int) -> float:
    """Steps a second in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, __file__, "--steps", str(steps), "--child"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=clean | way)
    return float(done.stdout)


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(steps_per_second(arguments.steps))
        return
    load = os.getloadavg()[0]
    speeds: dict[tuple[str, str], list[float]] = {}
    for _, state, way in product(range(arguments.rounds), STATES, WAYS):
        with busy(STATES[state]):
            speeds.setdefault((state, way), []).append(measured(WAYS[way], arguments.steps))
    print(f"Load of the last minute when it began: {load:.1f}, on {os.cpu_count()} cores.\n")
    print("| state | threads | steps/s | next to the default |\n|---|---|---|---|")
    for (state, way), found in speeds.items():
        speed, default = (
            statistics.median(found),
            statistics.median(speeds[state, next(iter(WAYS))]),
        )
        print(f"| {state} | {way} | {speed:.2f} | {speed / default:.2f} |")


if __name__ == "__main__":
    main()
