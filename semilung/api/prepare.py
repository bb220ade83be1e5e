"""`semilung data prepare`: the cache of resampled volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semilung.api.paths import PathLike
from semilung.config.schema import data_config
from semilung.data import PreparedCase, read_manifest
from semilung.data import prepare as prepare_cases


def prepare(
    manifest: PathLike,
    *,
    settings: Sequence[str] = (),
    verify: bool = False,
    processes: int | None = None,
    scheduler: str | None = None,
) -> tuple[list[PreparedCase], Path]:
    """Fill the cache with the volumes of a manifest.

    Args:
        manifest: The manifest.
        settings: `key=value` words of the settings of data that preparation reads.
        verify: Compare the cached volumes with their checksums.
        processes: Cases prepared at a time; one a core, at most 8, by default.
        scheduler: `local` for a Dask cluster of this machine, or the address of a Dask scheduler.

    Returns:
        The prepared cases, and the folder of the cache.

    Raises:
        UserError: A setting is unknown or out of range, or a volume cannot be read.
    """
    config = data_config(settings)
    cases = read_manifest(Path(manifest))
    prepared = prepare_cases(cases, config, verify=verify, processes=processes, scheduler=scheduler)
    return prepared, config.cache_folder()
