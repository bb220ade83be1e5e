"""The embedded phantom, which a training without `data.manifest` uses."""

from __future__ import annotations

from semilung.data.phantom import DRAWING, write_phantom
from semilung.runs import TrainConfig


def with_default_manifest(config: TrainConfig) -> TrainConfig:
    """Return the config with the embedded phantom's manifest where it names none.

    The phantom is written into the cache folder unless it is there already.

    Args:
        config: Is changed in place.

    Raises:
        UserError: The phantom cannot be written.
    """
    if config.data.manifest is None:
        folder = config.data.cache_folder() / f"phantom-{DRAWING}"
        print(f"no data.manifest is named: the embedded phantom in {folder} is used")  # noqa: T201
        config.data.manifest = str(write_phantom(folder).resolve())
    return config
