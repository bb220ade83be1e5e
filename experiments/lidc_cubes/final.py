"""Chosen arms on the 20 test cubes, each run at the threshold that its validation cubes choose.

    python experiments/lidc_cubes/final.py OUT ARM=RUN,RUN,RUN [ARM=RUN,... ...]

Run it once, when everything else has been decided. OUT is that of manifest.py; an arm is any name
and its runs, one a seed. Dice is held against the first arm, false positives against the second:
the supervised ones with and without healthy scans. At its threshold each run is judged on the
held-out lung of the healthy subject and on background cubes too. OUT/final.md holds the tables, and
OUT/final a report of all runs. With `--val` before OUT, runs are held against each other on their
validation cubes at 0.5 instead, of which OUT/val.md tells.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from compare import judge, semilung

from semilung.evaluation import compare_arms, relative_reduction
from semilung.report.metric_tables import Table


def judged(run: Path, name: str, *words: object) -> pd.DataFrame:
    """The cases of an evaluation."""
    return pd.read_csv(judge(run, name, *words) / "cases.csv")


def on_test(out: Path, run: Path) -> dict[str, pd.DataFrame]:
    """Cases by cohort: `nodules`, `healthy`, `background`."""
    test = judged(run, "test", "--split", "test", "--threshold", "val")
    threshold = test["threshold"].iloc[0]
    found = {"nodules": test}
    for cohort in ("healthy", "background"):
        words = ("--manifest", out / f"{cohort}.csv", "--threshold", threshold)
        found[cohort] = judged(run, f"{cohort}_at_threshold", *words)
    return found


def on_val(out: Path, run: Path) -> dict[str, pd.DataFrame]:
    """The same of the validation cubes, as compare.py has judged them."""
    val = judged(run, "val", "--split", "val")
    background = judged(run, "background", "--manifest", out / "background.csv")
    return {
        "nodules": val[val["role"] == "labelled"],
        "healthy": val[val["role"] == "healthy"],
        "background": background,
    }


def rows(cases: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a run, and the mean of each arm."""
    by = cases["nodules"].groupby(["arm", "seed"], sort=False)
    table = pd.DataFrame(
        {
            "Dice": by["dice"].mean(),
            "surface Dice 2 mm": by["surface_dice_2mm"].mean(),
            "silent on": by["predicted_volume_mm3"].agg(lambda volumes: (volumes == 0).sum()),
            "threshold": by["threshold"].first(),
        }
    )
    for cohort in ("healthy", "background"):
        table[f"FP {cohort}"] = cases[cohort].groupby(["arm", "seed"])["fp_volume_mm3"].mean()
    table = table.reset_index()
    means = table.groupby("arm", sort=False).mean(numeric_only=True).reset_index()
    return pd.concat([table, means.assign(seed="mean")])


def markdown(table: pd.DataFrame) -> str:
    """As a page shows it."""
    cells = [[str(cell) for cell in row] for row in table.round(3).to_numpy().tolist()]
    return Table("", "", list(table.columns), cells, table).markdown()


def main() -> None:
    """Judge every run, compare the arms, then report."""
    words = sys.argv[1:]
    val = words[0] == "--val"
    out = Path(words[val]).resolve()
    arms = dict(word.split("=", 1) for word in words[1 + val :])
    parts: dict[str, list[pd.DataFrame]] = {"nodules": [], "healthy": [], "background": []}
    runs = []
    for arm, named in arms.items():
        for seed, run in enumerate(Path(path).resolve() for path in named.split(",")):
            runs.append(run)
            for cohort, cases in (on_val if val else on_test)(out, run).items():
                parts[cohort].append(cases.assign(arm=arm, seed=seed))
    cases = {cohort: pd.concat(tables) for cohort, tables in parts.items()}
    first, second, *_ = arms
    text = [markdown(rows(cases)), markdown(compare_arms(cases["nodules"], reference=first))]
    for cohort in ("healthy", "background"):
        text += [f"{cohort}\n", markdown(relative_reduction(cases[cohort], reference=second))]
    page = out / ("val.md" if val else "final.md")
    page.write_text("\n".join(text))
    print(page.read_text())
    if not val:
        sys.exit(semilung("report", *runs, "--split", "test", "--out", out / "final"))


if __name__ == "__main__":
    main()
