"""Semi- and weakly-supervised lung-nodule segmentation on 3D CT with a healthy cohort.

`load`, `train`, `evaluate`, `predict`, `detect`, `characterize` and `ablate` do what the commands
do; torch is imported when one of them is first used. `semilung.api` has a function for each of the
other commands.

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
    from semilung.ablation.sweep import ablate
    from semilung.api.characterize import characterize
    from semilung.api.detect import detect
    from semilung.api.evaluate import evaluate
    from semilung.api.load import load
    from semilung.api.predict_files import predict
    from semilung.api.train import train

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "ablate",
    "characterize",
    "detect",
    "evaluate",
    "load",
    "predict",
    "train",
]

_MODULES = {
    "ablate": "ablation.sweep",
    "characterize": "api.characterize",
    "detect": "api.detect",
    "evaluate": "api.evaluate",
    "load": "api.load",
    "predict": "api.predict_files",
    "train": "api.train",
}


def __getattr__(name: str) -> Any:
    """Import a function when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'semilung' has no attribute {name!r}")
    return getattr(import_module(f"semilung.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
