"""Nets of the folds of a characterization study, and their scores of the nodules held out.

    python experiments/characterization/manifest.py OUT
    semilung radiomics OUT/manifest.csv --out OUT/features.csv
    semilung characterize OUT/features.csv --nodules OUT/nodules.csv --out OUT/folds --folds-only
    python experiments/characterization/nets.py OUT ARM [repeats=0,1] [folds=0,1] [key=value ...]

Trains `experiment=nodule_crops` on the part `train` of each fold, evaluates the last checkpoint on
the parts `inner` and `outer`, and writes OUT/scores_ARM.csv, which
`semilung characterize --scores ARM=...` reads. Nodules without a class (a rating of 3) are trained
on too, unless their patient is held out. Further words are settings of the trainings, such as
`init=RUN`, and `train_nodules=16` trains on as many nodules with a class, drawn anew in each fold.
Trainings that are done are not repeated and interrupted ones continue: give other words another
name of ARM.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from semilung import evaluate, train
from semilung.csv_tables import write_csv
from semilung.data import read_manifest, write_manifest
from semilung.types import Split

SPLITS: dict[str, Split] = {"train": "train", "inner": "val", "outer": "test"}


def write_fold(out: Path, rows: pd.DataFrame, path: Path, few: int | None) -> None:
    """Write the manifest of a fold, with its parts as splits."""
    if few is not None:
        training = rows[rows["part"] == "train"]
        seed = int(rows["fold"].iloc[0])
        chosen = training.groupby("label").sample(n=few // 2, random_state=seed)
        rows = pd.concat([rows[rows["part"] != "train"], chosen])
    part_of_patient = dict(zip(rows["patient"], rows["part"], strict=True))
    named = set(rows["case"])
    cases = [
        replace(case, split=SPLITS[part_of_patient.get(case.patient, "train")])
        for case in read_manifest(out / "manifest.csv")
        if few is None or case.case in named
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(path, cases)


def scores_of(out: Path, run: Path, manifest: Path, words: list[str]) -> pd.DataFrame:
    """Train a net, or go on, unless it is done; return its scores of the nodules held out."""
    if (run / "config.yaml").exists():
        train([f"resume={run}"])
    else:
        recipe = ["experiment=nodule_crops", f"data.manifest={manifest}"]
        named = [f"data.cache={out / 'cache'}", f"runs_dir={run.parent}", f"run_name={run.name}"]
        train([*recipe, *words, *named])
    tables = []
    for part, split in (("inner", "val"), ("outer", "test")):
        folder = run / f"evaluation-{split}-last"
        if not (folder / "lesions.csv").exists():
            evaluate(run, split=split, out=folder)
        lesions = pd.read_csv(folder / "lesions.csv", dtype={"case": str, "nodule": str})
        score = lesions["malignancy_predicted"]
        tables.append(lesions[["case", "nodule"]].assign(part=part, score=score))
    return pd.concat(tables)


def numbers(words: list[str], name: str, default: range) -> list[int]:
    """Return the numbers of a word such as `repeats=0,1`, and remove it."""
    for word in [word for word in words if word.startswith(f"{name}=")]:
        words.remove(word)
        return [int(text) for text in word.split("=")[1].split(",")]
    return list(default)


def main() -> None:
    """Train, evaluate and write the scores."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    out, arm, words = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3:]
    folds = pd.read_csv(out / "folds" / "folds.csv", dtype={"case": str, "patient": str})
    repeats = numbers(words, "repeats", range(folds["repeat"].max() + 1))
    chosen = numbers(words, "folds", range(folds["fold"].max() + 1))
    few = numbers(words, "train_nodules", range(0))
    tables = []
    for repeat in repeats:
        for fold in chosen:
            rows = folds[(folds["repeat"] == repeat) & (folds["fold"] == fold)]
            run = out / "runs" / f"{arm}-r{repeat}f{fold}"
            manifest = out / "manifests" / f"{run.name}.csv"
            write_fold(out, rows, manifest, few[0] if few else None)
            seed = f"seed={repeat}"
            scores = scores_of(out, run, manifest, [*words, seed])
            scores = scores.merge(rows[["case"]])  # those with a class
            tables.append(scores.assign(repeat=repeat, fold=fold))
            columns = ["repeat", "fold", "part", "case", "nodule", "score"]
            write_csv(out / f"scores_{arm}.csv", pd.concat(tables)[columns])
            print(f"{run.name}: {len(scores)} scores", flush=True)


if __name__ == "__main__":
    main()
