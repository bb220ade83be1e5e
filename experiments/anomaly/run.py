"""Separation of nodules from lung by anomaly maps, on the phantom.

    OMP_NUM_THREADS=1 python experiments/anomaly/run.py OUT [--steps 400]

draws two phantoms, trains `strategy=anomaly` on the healthy scans of the first (the base terms at
weight 0, so that no mask is used), an adversarial autoencoder on the same scans for five times the
steps, which are cheap, and `strategy=supervised` with its masks; then evaluates their maps on the
labelled scans of the second.

- voxels: AUROC of nodule voxels against all others of the lung field, a mean over scans;
- nodules: AUROC of the nodules' mean score against regions of the same shape at 200 random places
  of the lung field without a nodule, a mean over nodules.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from autoencoder import train_autoencoder
from numpy.typing import NDArray
from scipy import ndimage, stats

from semilung.data import PreparedCase, prepare, read_manifest, scale_hu
from semilung.data.anatomy.classes import ANATOMY
from semilung.data.phantom import write_phantom
from semilung.inference import predict_probability
from semilung.runs import load_predictor, load_run_config

SIZE, SPACING_MM, CROP = 64, 2.5, 24
FIELD = [ANATOMY[name] for name in ("lung", "vessel", "airway")]
PLACES = 200


def train(out: Path, name: str, steps: int, *overrides: str) -> None:
    """Train one run through the command line, unless it exists."""
    if (out / "runs" / name / "last.pt").exists():
        return
    words = [
        f"data.manifest={out / 'train' / 'manifest.csv'}",
        f"data.cache={out / 'cache'}",
        f"data.spacing_mm=[{SPACING_MM},{SPACING_MM},{SPACING_MM}]",
        f"data.crop=[{CROP},{CROP},{CROP}]",
        "data.workers=0",
        "model.widths=[8,16,32]",
        "model.depth=[0,1,1]",
        "model.prior=0.1",
        "optim.lr=3e-3",
        f"trainer.max_steps={steps}",
        "trainer.validate_every=0",
        "inference.window=[32,32,32]",
        f"runs_dir={out / 'runs'}",
        f"run_name={name}",
        *overrides,
    ]
    subprocess.run([sys.executable, "-m", "semilung", "train", *words], check=True)


def auroc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Return the AUROC; ties count half."""
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    n, m = len(positive), len(negative)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def auroc_of_case(score: NDArray[np.float32], case: PreparedCase) -> tuple[float, list[float]]:
    """Return the AUROC of voxels, and of each nodule."""
    mask, anatomy = case.read("mask") > 0, case.read("anatomy")
    field = np.isin(anatomy, FIELD) | mask
    voxels = auroc(score[mask & field], score[field & ~mask])
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    rng = np.random.default_rng(0)
    free = np.argwhere(field & ~mask)
    nodules = []
    for number in range(1, labels.max() + 1):
        inside = np.argwhere(labels == number)
        shape = inside - inside.mean(0).round().astype(int)
        others: list[float] = []
        for centre in rng.permutation(free)[:5000]:
            moved = shape + centre
            if (moved < 0).any() or (moved >= mask.shape).any():
                continue
            at = tuple(moved.T)
            if field[at].all() and not mask[at].any():
                others.append(float(score[at].mean()))
            if len(others) == PLACES:
                break
        if len(others) >= PLACES // 4:
            own_mean = np.array([score[tuple(inside.T)].mean()])
            nodules.append(auroc(own_mean, np.array(others)))
    return voxels, nodules


def main() -> None:
    """Train missing runs, evaluate, print and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    out, steps = arguments.out.resolve(), arguments.steps
    write_phantom(out / "train", scans=24, size=SIZE, spacing_mm=SPACING_MM, seed=0)
    write_phantom(out / "test", scans=16, size=SIZE, spacing_mm=SPACING_MM, seed=1)
    silent = [f"strategies.supervised.{w}_weight=0" for w in ("dice", "ce", "healthy")]
    batch = ["data.batch.labelled=1", "data.batch.unlabelled=0", "data.batch.healthy=4"]
    train(out, "anomaly", steps, "strategy=anomaly", *silent, *batch)
    shares = ["data.batch.labelled=4", "data.batch.unlabelled=0", "data.batch.healthy=1"]
    recipe = ["data.foreground=0.8", "strategies.supervised.healthy_weight=0.3"]
    recipe += [
        "strategies.supervised.healthy_hardest=0.05",
        "strategies.supervised.healthy_rampup=0.6",
    ]
    train(out, "supervised", steps, "strategy=supervised", *shares, *recipe)

    config = load_run_config(out / "runs" / "anomaly")
    window_hu = config.data.window_hu
    rows = read_manifest(out / "train" / "manifest.csv")
    healthy = [row for row in rows if row.role == "healthy" and row.split == "train"]
    volumes = [
        torch.from_numpy(scale_hu(item.read("image"), window_hu))
        for item in prepare(healthy, config.data, progress=False)
    ]
    started = time.process_time()
    autoencoder = train_autoencoder(volumes, crop=CROP, steps=5 * steps, seed=0)
    print(f"autoencoder: {(time.process_time() - started) / 60:.1f} minutes of CPU time")

    nets = {
        "anomaly head (FPI and PII), no masks": (load_predictor(out / "runs/anomaly"), "anomaly"),
        "autoencoder with adversary, no masks": (autoencoder, "anomaly"),
        "segmenter, all masks": (load_predictor(out / "runs/supervised"), "logits"),
    }
    tests = [row for row in read_manifest(out / "test" / "manifest.csv") if row.role == "labelled"]
    scores: dict[str, tuple[list[float], list[float]]] = {}
    for item in prepare(tests, config.data, progress=False):
        image = torch.from_numpy(scale_hu(item.read("image"), window_hu))
        maps = {"intensity": image.numpy()}
        for name, (net, head) in nets.items():
            # 24 is a multiple of the autoencoder's 8, and the size that all have learnt on
            probability = predict_probability(
                net, image, window=(CROP,) * 3, head=head, batch_size=8
            )
            maps[name] = probability.numpy()
        for name, score in maps.items():
            voxels, nodules = auroc_of_case(score, item)
            pair = scores.setdefault(name, ([], []))
            pair[0].append(voxels)
            pair[1].extend(nodules)
    table = pd.DataFrame(
        {
            "score": list(scores),
            "voxels": [np.mean(v) for v, _ in scores.values()],
            "voxels_low": [np.min(v) for v, _ in scores.values()],
            "voxels_high": [np.max(v) for v, _ in scores.values()],
            "nodules": [np.mean(n) for _, n in scores.values()],
            "scans": [len(v) for v, _ in scores.values()],
            "count": [len(n) for _, n in scores.values()],
        }
    ).round(3)
    table.to_csv(out / "results.csv", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
