"""Leakage between splits: cases, patients and volumes that a run has been trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from semilung.data import Case, PreparedCase, read_manifest


@dataclass(frozen=True)
class Subject:
    """What identifies a case: its name and, where they are available, its patient and its voxels.

    Attributes:
        case: Name.
        patient: Patient, or None where the manifest is not available.
        volume: The prepared volume, or None where voxels are not compared.
    """

    case: str
    patient: str | None = None
    volume: PreparedCase | None = None

    @classmethod
    def of(cls, item: Case | PreparedCase) -> Subject:
        """Return the subject of a manifest's case or of a prepared one."""
        if isinstance(item, PreparedCase):
            return cls(item.name, item.case.patient, item)
        return cls(item.case, item.patient)


@dataclass(frozen=True)
class Leak:
    """An evaluated case that a split of the training holds too.

    Attributes:
        case: The evaluated case.
        split: Split of the training, such as `train`.
        kind: What both sides share.
        twin: Name of the same volume in that split, for the kind `volume`.
    """

    case: str
    split: str
    kind: Literal["case", "patient", "volume"]
    twin: str = ""

    def __str__(self) -> str:
        """Return a clause for messages, without the patient's name."""
        if self.kind == "volume":
            return f"{self.case} is the same volume as {self.twin} of {self.split}"
        if self.kind == "patient":
            return f"{self.case} is of a patient of {self.split}"
        return f"{self.case} is in {self.split} too"


def find_leaks(
    training: Mapping[str, Sequence[Subject]], evaluated: Sequence[Subject]
) -> list[Leak]:
    """Return a leak for each evaluated case that a split of the training shares.

    Names are compared first, then voxels where both sides have them, then patients. Equal checksums
    of prepared volumes point to candidates, whose voxels are then read.

    Args:
        training: Split (`train`, `val`) to its subjects.
        evaluated: The evaluated subjects.

    Raises:
        UserError: A prepared volume is damaged.

    Example:
        >>> train = [Subject("a", "p1"), Subject("b", "p2")]
        >>> [str(leak) for leak in find_leaks({"train": train}, [Subject("c", "p2")])]
        ['c is of a patient of train']
    """
    leaks: list[Leak] = []
    for split, subjects in training.items():
        names = {subject.case for subject in subjects}
        patients = {subject.patient for subject in subjects} - {None}
        volumes: dict[bytes, list[PreparedCase]] = defaultdict(list)
        for subject in subjects:
            if subject.volume is not None:
                volumes[subject.volume.checksums].append(subject.volume)
        for subject in evaluated:
            if subject.case in names:
                leaks.append(Leak(subject.case, split, "case"))
            elif (twin := _twin(subject.volume, volumes)) is not None:
                leaks.append(Leak(subject.case, split, "volume", twin.name))
            elif subject.patient in patients:
                leaks.append(Leak(subject.case, split, "patient"))
    return leaks


def training_leaks(
    evaluated: Sequence[Subject],
    splits: Mapping[str, Mapping[str, str]],
    patients: Mapping[str, str] | None,
) -> list[Leak]:
    """Return a leak for each evaluated case of which a run has trained on the case or its patient.

    Args:
        evaluated: The evaluated subjects.
        splits: Splits of the run.
        patients: Case to patient of the run's manifest; None where it is not available, and cases
            are compared by their names alone.
    """
    train = [
        Subject(name, (patients or {}).get(name))
        for name, entry in splits.items()
        if entry["split"] == "train"
    ]
    return find_leaks({"train": train}, evaluated)


def read_patients(manifest: Path) -> dict[str, str] | None:
    """Return case to patient of a manifest, or None where the file does not exist."""
    if not manifest.is_file():
        return None
    return {case.case: case.patient for case in read_manifest(manifest)}


def _twin(
    volume: PreparedCase | None, volumes: Mapping[bytes, Sequence[PreparedCase]]
) -> PreparedCase | None:
    """Return the prepared case that has the same voxels as another."""
    if volume is None:
        return None
    candidates = volumes.get(volume.checksums, ())
    return next((twin for twin in candidates if _same_voxels(volume, twin)), None)


def _same_voxels(one: PreparedCase, two: PreparedCase) -> bool:
    return one.shape == two.shape and np.array_equal(one.read("image"), two.read("image"))
