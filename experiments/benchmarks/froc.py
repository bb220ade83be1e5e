"""FROC of the LUNA16 challenge's size: 888 scans, 55,000 marks, 1,000 bootstrap samples.

    OMP_NUM_THREADS=1 python experiments/benchmarks/froc.py [--scans 888] [--marks 55000]

The tables are made up, with as many nodules (1,186) and excluded findings (36,000) as LUNA16 has:
three quarters of the nodules get one to three marks, some excluded findings get one, and all other
marks are uniform in the chest. One process; reading of CSV is not part of it.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from semilung.evaluation import luna16_froc
from semilung.inference.findings import COORDINATES

CHEST_MM = (350.0, 250.0, 300.0)


def placed(rng: np.random.Generator, scans: list[str], n: int) -> pd.DataFrame:
    """Points at random in random scans."""
    points = pd.DataFrame(rng.uniform(0, CHEST_MM, (n, 3)), columns=list(COORDINATES))
    points.insert(0, "seriesuid", rng.choice(scans, n))
    return points


def near(rng: np.random.Generator, findings: pd.DataFrame, n: int) -> pd.DataFrame:
    """Points within 2 mm of `n` of the findings."""
    points = findings.iloc[rng.integers(len(findings), size=n)].copy()
    points[list(COORDINATES)] += rng.uniform(-1, 1, (n, 3))
    return points[["seriesuid", *COORDINATES]]


def problem(scans: int, marks: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, list[str]]:
    """Detections, annotations, excluded findings, scans."""
    rng = np.random.default_rng(0)
    names = [f"scan{i:04d}" for i in range(scans)]
    nodules = placed(rng, names, scans * 1186 // 888)
    nodules["diameter_mm"] = rng.lognormal(2, 0.4, len(nodules)).clip(3, 33)
    excluded = placed(rng, names, scans * 36000 // 888).assign(diameter_mm=-1.0)
    hits = near(rng, nodules, len(nodules) * 3 // 2)
    ignored = near(rng, excluded, marks // 10)
    false = placed(rng, names, marks - len(hits) - len(ignored))
    hits["probability"] = rng.beta(5, 2, len(hits))
    ignored["probability"] = rng.beta(2, 3, len(ignored))
    false["probability"] = rng.beta(1, 6, len(false))
    detections = pd.concat([hits, ignored, false]).sample(frac=1, random_state=0)
    return detections, nodules, excluded, names


def main() -> None:
    """Print the time with and without bootstrap."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=888)
    parser.add_argument("--marks", type=int, default=55_000)
    args = parser.parse_args()
    tables = problem(args.scans, args.marks)
    print(f"{args.scans} scans, {args.marks} marks, {len(tables[1])} nodules, "
          f"{len(tables[2])} excluded findings\n")  # fmt: skip
    print("| bootstrap samples | wall s | CPU s | CPM | 95 % |\n|---|---|---|---|---|")
    for samples in (0, 1000):
        wall, cpu = time.perf_counter(), time.process_time()
        froc = luna16_froc(*tables, bootstrap=samples)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        band = f"{froc.cpm_low:.3f} to {froc.cpm_high:.3f}" if samples else "-"
        print(f"| {samples} | {wall:.2f} | {cpu:.2f} | {froc.cpm:.3f} | {band} |", flush=True)


if __name__ == "__main__":
    main()
