"""Final evaluation of selected arms on the 20 test cubes, at thresholds chosen on validation cubes.

    python experiments/lidc_cubes/final.py OUT ARM=RUN,RUN,RUN [ARM=RUN,... ...]

Run it once, when everything else has been decided. OUT is that of manifest.py; an arm is a
name and its runs, one for each seed. Dice is compared with the first arm, false positives with the
second: the supervised ones with and without healthy scans. Each run is also evaluated, at its
threshold, on the held-out lung of the healthy subject and on background cubes. OUT/final.md has the
tables, and OUT/final a report of all runs. With `--val` before OUT, runs are compared on their
validation cubes at 0.5 instead, in OUT/val.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from compare import evaluate, semilung

from semilung.evaluation import compare_arms, relative_reduction
from semilung.report.metric_tables import Table


def evaluation(run: Path, name: str, *words: object) -> pd.DataFrame:
    """Return the cases of an evaluation."""
    return pd.read_csv(evaluate(run, name, *words) / "cases.csv")


def on_test(out: Path, run: Path) -> dict[str, pd.DataFrame]:
    """Return cases by cohort: `nodules`, `healthy`, `background`."""
    test = evaluation(run, "test", "--split", "test", "--threshold", "val")
    threshold = test["threshold"].iloc[0]
    cohorts = {"nodules": test}
    for cohort in ("healthy", "background"):
        words = ("--manifest", out / f"{cohort}.csv", "--threshold", threshold)
        cohorts[cohort] = evaluation(run, f"{cohort}_at_threshold", *words)
    return cohorts


def on_val(out: Path, run: Path) -> dict[str, pd.DataFrame]:
    """Return the same for the validation cubes, as evaluated by compare.py."""
    val = evaluation(run, "val", "--split", "val")
    background = evaluation(run, "background", "--manifest", out / "background.csv")
    return {
        "nodules": val[val["role"] == "labelled"],
        "healthy": val[val["role"] == "healthy"],
        "background": background,
    }


def rows(cases: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row for each run, and the mean of each arm."""
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
    """Format a value."""
    cells = [[str(cell) for cell in row] for row in table.round(3).to_numpy().tolist()]
    return Table("", "", list(table.columns), cells, table).markdown()


def main() -> None:
    """Evaluate every run, compare the arms, and report."""
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
