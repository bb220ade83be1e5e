"""Configuration of data and augmentation, as plain dataclasses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semilung.bounds import require_bounds
from semilung.files import absolute_path
from semilung.types import STREAMS, UserError

RESTS = ("unlabelled", "weak", "nodules", "drop")

PREPARING = ("cache", "spacing_mm", "clip_hu", "crop_to_lungs", "lung_margin_mm")
"""Settings that preparation reads."""


@dataclass
class DataConfig:
    """Choice of cases, preparation of volumes and sampling of crops.

    Attributes:
        manifest: Path of the manifest CSV.
        labelled: Label budget: training cases whose masks are kept, by seed; None keeps all.
        rest: What labelled training cases beyond the budget become: unlabelled, weak, nodules (they
            stay labelled, by the centres and diameters of nodules.csv alone) or drop.
        healthy: Healthy training cases to keep by seed; None keeps all.
        folds: Number of folds of a cross-validation within train; None keeps the manifest's splits.
        fold: Fold that is the validation set, from 0.
        split_seed: Seed of the splits and folds; None is the seed of the run. Runs that are
            compared on the same cases share it, while their seeds differ.
        val_fraction: Share of patients drawn for validation where the manifest states no split.
        test_fraction: Share of patients drawn for test where the manifest states no split.
        cache: Folder of prepared volumes; None is $SEMILUNG_CACHE, else ~/.cache/semilung.
        spacing_mm: Voxel size after preparation, (x, y, z); None keeps the scan's.
        clip_hu: Intensities are clipped to this range when stored; `window_hu` widens it.
        crop_to_lungs: Cut volumes to the box around the lungs, where they reach beyond it.
        lung_margin_mm: Margin around that box.
        window_hu: Range of HU that becomes [0, 1] in batches.
        crop: Size of a training crop in voxels, (x, y, z).
        batch: Crops a step and process from each stream; 0 switches a stream off. The unlabelled
            stream draws from weak scans too, whose voxels are unlabelled. Above 0, located draws
            the labelled cases without a mask, which are unlabelled too, and the labelled stream
            those with one; at 0 the labelled stream draws both.
        bags: Scans of each stream and step that are sampled as a bag of crops; only where a
            strategy reads the view `bag`.
        bag_size: Largest number of crops in a bag. A step of `mil` trains on as many more crops for
            each stream; 8 fits a CPU or a GPU of 8 GB. A bag of all tiles of a scan, where memory
            and time allow, has a more certain label.
        foreground: Share of labelled crops that hold a nodule voxel by construction.
        hard_negatives: Share of healthy crops that hold a voxel in which the present net sees a
            nodule; these voxels are searched at intervals (trainer.mine_every). At 0 no search.
        overhang: Largest part of a crop beyond the volume, as a share of its size. At 0.5 every
            voxel is equally likely to be a crop's centre, so nodules appear at every offset even
            in volumes hardly larger than a crop; 0 keeps crops inside.
        workers: Loader processes; 0 loads in the training process.

    Raises:
        UserError: A value is out of its range; the message names field, value and remedy.
    """

    manifest: str | None = None
    labelled: int | None = None
    rest: str = "unlabelled"
    healthy: int | None = None
    folds: int | None = None
    fold: int = 0
    split_seed: int | None = None
    val_fraction: float = 0.2
    test_fraction: float = 0.2
    cache: str | None = None
    spacing_mm: tuple[float, float, float] | None = (1.0, 1.0, 1.0)
    clip_hu: tuple[float, float] = (-1024.0, 2000.0)
    crop_to_lungs: bool = True
    lung_margin_mm: float = 10.0
    window_hu: tuple[float, float] = (-1000.0, 400.0)
    crop: tuple[int, int, int] = (40, 40, 40)
    batch: dict[str, int] = field(
        default_factory=lambda: {
            "labelled": 4,
            "unlabelled": 4,
            "healthy": 2,
            "weak": 0,
            "located": 0,
        }
    )
    bags: int = 1
    bag_size: int = 8
    foreground: float = 0.5
    hard_negatives: float = 0.0
    overhang: float = 0.5
    workers: int = 1

    def __post_init__(self) -> None:
        require_bounds(self, "data")
        # A composed config hands over lists where tuples are declared.
        if self.spacing_mm is not None:
            self.spacing_mm = _triple(self.spacing_mm, "spacing_mm")
        x, y, z = _triple(self.crop, "crop")
        self.crop = (int(x), int(y), int(z))
        clip, window = _range(self.clip_hu, "clip_hu"), _range(self.window_hu, "window_hu")
        self.clip_hu, self.window_hu = (min(clip[0], window[0]), max(clip[1], window[1])), window
        self._check_splits()
        unknown = [stream for stream in self.batch if stream not in STREAMS]
        _require(not unknown, "batch", unknown, f"name streams: {', '.join(STREAMS)}")

    def _check_splits(self) -> None:
        _require(self.rest in RESTS, "rest", self.rest, f"be one of {', '.join(RESTS)}")
        is_below = self.fold < (self.folds or 1)
        _require(is_below, "fold", self.fold, f"be below folds={self.folds}")
        total = self.val_fraction + self.test_fraction
        _require(total < 1, "val_fraction + test_fraction", total, "leave something for training")

    def cache_folder(self) -> Path:
        """Return the folder of prepared volumes."""
        named = self.cache or os.environ.get("SEMILUNG_CACHE") or "~/.cache/semilung"
        absolute_path(named, "data.cache")
        return Path(named).expanduser()


@dataclass
class AugmentConfig:
    """Augmentation of crops. All views of a crop share its geometry and differ in intensity only.

    Attributes:
        flips: Mirror each axis with probability 1/2.
        quarter_turns: Turn by multiples of 90 degrees in planes of equal size and spacing.
        affine_probability: Share of crops that are also rotated and scaled.
        rotation_degrees: Largest angle of that rotation, about a random axis.
        scale: Range of the zoom factor of that scaling, drawn uniformly in its logarithm.
        nodule_mm: Range of diameters to which the nodule of a labelled crop is zoomed, as far as
            `scale` allows, drawn uniformly in its logarithm, so that few nodules represent all
            sizes; None draws the zoom factor itself.
        weak_shift_hu: Weak view: largest offset added to all voxels.
        weak_contrast: Weak view: largest relative change of contrast.
        weak_noise_hu: Weak view: largest standard deviation of added Gaussian noise.
        strong_probability: Strong view: probability of each of its changes.
        strong_shift_hu: Strong view: largest offset.
        strong_contrast: Strong view: largest relative change of contrast.
        strong_gamma: Strong view: range of the exponent applied to the windowed image.
        strong_noise_hu: Strong view: largest standard deviation of noise.
        strong_blur_voxels: Strong view: range of the Gaussian blur's standard deviation.
        cutout_holes: Strong view: number of boxes occluded by noise.
        cutout_share: Strong view: largest edge of such a box as a share of the crop's.

    Raises:
        UserError: A value is out of its range; the message names field, value and remedy.
    """

    flips: bool = True
    quarter_turns: bool = True
    affine_probability: float = 0.2
    rotation_degrees: float = 15.0
    scale: tuple[float, float] = (0.9, 1.1)
    nodule_mm: tuple[float, float] | None = None
    weak_shift_hu: float = 20.0
    weak_contrast: float = 0.05
    weak_noise_hu: float = 10.0
    strong_probability: float = 0.5
    strong_shift_hu: float = 80.0
    strong_contrast: float = 0.2
    strong_gamma: tuple[float, float] = (0.7, 1.5)
    strong_noise_hu: float = 50.0
    strong_blur_voxels: tuple[float, float] = (0.4, 1.0)
    cutout_holes: int = 3
    cutout_share: float = 0.25

    def __post_init__(self) -> None:
        require_bounds(self, "augment")
        for name in ("scale", "nodule_mm", "strong_gamma", "strong_blur_voxels"):
            if getattr(self, name) is not None:
                setattr(self, name, _range(getattr(self, name), name, strict=False))


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise UserError(f"{name}={value} is out of range: it must {rule}")


def _triple(value: Sequence[float], name: str) -> tuple[float, float, float]:
    _require(len(value) == 3, name, tuple(value), "have three values, for x, y and z")
    x, y, z = value
    return (float(x), float(y), float(z))


def _range(value: Sequence[float], name: str, *, strict: bool = True) -> tuple[float, float]:
    _require(len(value) == 2, name, tuple(value), "have two values, low and high")
    low, high = float(value[0]), float(value[1])
    _require(low < high or (low == high and not strict), name, (low, high), "run low to high")
    return (low, high)
