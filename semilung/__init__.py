"""Semi- and weakly-supervised lung-nodule segmentation on 3D CT with a healthy cohort.

`load`, `train`, `evaluate` and `predict` do what the commands do; torch is imported when one of
them is first used.

Example:
    >>> import semilung
    >>> prediction = semilung.load("runs/mine").predict("scan.nii.gz")  # doctest: +SKIP
    >>> prediction.write("masks")  # doctest: +SKIP
    [PosixPath('masks/scan_nodules.nii.gz'), PosixPath('masks/scan_probability.nii.gz')]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semilung.api.evaluate import evaluate
    from semilung.api.load import load
    from semilung.api.predict import predict
    from semilung.api.train import train

__version__ = "0.1.0"

__all__ = ["__version__", "evaluate", "load", "predict", "train"]


def __getattr__(name: str) -> Any:
    """Import a function of `semilung.api` when it is first used."""
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module 'semilung' has no attribute {name!r}")
    return getattr(import_module(f"semilung.api.{name}"), name)


def __dir__() -> list[str]:
    return __all__
