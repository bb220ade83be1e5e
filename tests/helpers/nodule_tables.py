"""Tables of made-up nodules for studies of their features."""

import numpy as np
import pandas as pd

from semilung.characterization import CharacterizationSettings, read_study

QUICK = ("folds=3", "inner_folds=2", "repeats=1", "models=[logistic]", "bootstraps=100")
"""Settings of a study of less than a second."""


def nodule_tables(folder, *, nodules=80, noise=6, signal=1.5, seed=0):
    """Write features.csv and nodules.csv, and return their paths.

    Patients have one or two nodules. Positive nodules are larger; `planted` has the label with
    `signal` standard deviations between the classes, and `noise_*` nothing.
    """
    rng = np.random.default_rng(seed)
    label = np.arange(nodules) % 2
    case = [f"c{i:03}" for i in range(nodules)]
    features = pd.DataFrame(
        {
            "case": case,
            "patient": [f"p{i * 2 // 3:03}" for i in range(nodules)],
            "nodule": "1",
            "volume_mm3": 1.0,
            "diameter_mm": np.exp(rng.normal(2 + 0.3 * label, 0.4)).round(3),
            "planted": rng.normal(signal * label),
            **{f"noise_{i}": rng.normal(size=nodules) for i in range(noise)},
        }
    )
    targets = pd.DataFrame(
        {"case": case, "nodule": "1", "source": "readers",
         "malignancy": np.where(label, rng.integers(4, 6, nodules), rng.integers(1, 3, nodules))}
    )  # fmt: skip
    paths = folder / "features.csv", folder / "nodules.csv"
    features.to_csv(paths[0], index=False)
    targets.to_csv(paths[1], index=False)
    return paths


def edited(path, **columns):
    """Set columns of a table, or remove those that are None."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name, values in columns.items():
        table = table.drop(columns=name) if values is None else table.assign(**{name: values})
    table.to_csv(path, index=False)


def made_study(folder, settings=None, **options):
    """Return the study of made-up tables."""
    return read_study(*nodule_tables(folder, **options), settings or CharacterizationSettings())
