"""Settings that the user changed and that nothing reads in this training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from semilung.data import AugmentConfig, DataConfig
from semilung.runs.train_config import TrainConfig
from semilung.types import STREAMS


def unused_settings(
    config: TrainConfig,
    views: Mapping[str, tuple[str, ...]],
    sizes: Mapping[str, int],
    *,
    teacher: bool,
) -> Iterator[str]:
    """A sentence for each changed setting without effect.

    Args:
        config: Of the run.
        views: Stream to the views that are read.
        sizes: Training cases of each stream.
        teacher: Whether the run has an EMA teacher.
    """
    read = {view for named in views.values() for view in named}
    yield from _streams(config.data, views, sizes)
    yield from _data(config.data, bags="bag" in read)
    if not teacher and config.teacher_decay != TrainConfig().teacher_decay:
        yield f"teacher_decay={config.teacher_decay:g}, as the run has no teacher"
    if "strong" not in read:
        yield from _strong(config.augment)


def _streams(
    data: DataConfig, views: Mapping[str, tuple[str, ...]], sizes: Mapping[str, int]
) -> Iterator[str]:
    """Shares of a step above the default (a recipe lowers those of other arms), and amounts."""
    defaults = DataConfig().batch
    for stream in STREAMS:
        size = data.batch.get(stream, 0)
        if size > defaults.get(stream, 0) and stream not in views:
            reason = "no strategy reads" if sizes.get(stream) else "there are no training cases for"
            yield f"data.batch.{stream}={size}, as {reason} the {stream} stream"
    if data.healthy is not None and "healthy" not in views:
        yield f"data.healthy={data.healthy}, as the healthy stream is not read"
    if data.hard_negatives and "healthy" not in views:
        yield f"data.hard_negatives={data.hard_negatives:g}, as the healthy stream is not read"


def _data(data: DataConfig, *, bags: bool) -> Iterator[str]:
    defaults = DataConfig()
    reasons = {
        "rest": "data.labelled sets no budget" if data.labelled is None else "",
        "val_fraction": "data.folds cuts the validation sets" if data.folds else "",
        "lung_margin_mm": "" if data.crop_to_lungs else "data.crop_to_lungs is false",
        "bags": "" if bags else "no strategy reads bags",
        "bag_size": "" if bags else "no strategy reads bags",
    }
    for name, reason in reasons.items():
        value = getattr(data, name)
        if reason and value != getattr(defaults, name):
            yield f"data.{name}={value}, as {reason}"


def _strong(augment: AugmentConfig) -> Iterator[str]:
    defaults = AugmentConfig()
    for name in vars(defaults):
        value = getattr(augment, name)
        if name.startswith(("strong_", "cutout_")) and value != getattr(defaults, name):
            yield f"augment.{name}={value}, as no strategy reads the strong view"
