"""The nodules of a case whose features are computed: each with a name, and a mask of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.data.content.hounsfield import require_hu
from semilung.data.content.nodule_instances import read_instances
from semilung.data.io.grid import ball_diameter_mm
from semilung.data.io.volume import Volume, read_volume
from semilung.data.manifest.cases import Case
from semilung.data.manifest.nodule_checks import (
    centre_tolerance_mm,
    instance_voxels,
    nearest_instance,
)
from semilung.types import IGNORE


@dataclass(frozen=True)
class PredictedMask:
    """A run's mask of a case.

    Attributes:
        labels: File of the mask, k in the k-th finding.
        probability: Of each finding, in the order of the labels.
    """

    labels: Path
    probability: Sequence[float]


@dataclass(frozen=True, eq=False)
class NoduleMask:
    """A nodule of a case.

    Attributes:
        name: Of the nodule, unique within the case.
        mask: True in the nodule, on the image's grid.
        columns: Further values of its row, before the features.
    """

    name: str
    mask: Volume
    columns: Mapping[str, object] = field(default_factory=dict)


def read_image(case: Case) -> Volume:
    """Read the CT of a case.

    Raises:
        UserError: It cannot be read, or its voxels are not HU.
    """
    image = read_volume(case.image)
    require_hu(image.data, name=str(case.image))
    return image


def reference_nodules(case: Case, image: Volume) -> list[NoduleMask]:
    """Return the nodules of a case's own mask, named as in `nodules.csv` where they are listed.

    Others have their label in the mask as name (see `nodule_instances`).

    Raises:
        UserError: The mask is no map of labels, or not on the image's grid.
    """
    labels = _reference_labels(case, image)
    names = nodule_names(case, labels)
    return [_nodule(name, labels, label) for label, name in names.items()]


def predicted_nodules(case: Case, image: Volume, predicted: PredictedMask) -> list[NoduleMask]:
    """Return the findings of a run, each with the reference nodule that it overlaps most.

    Columns: `finding` (its label), `probability`, `reference` (name of the nodule, empty without
    one) and `matched` (1 or 0; empty where the case has no reference mask, and is not healthy).
    """
    labels = read_volume(predicted.labels)
    reference = _reference_labels(case, image) if _has_reference(case) else None
    names = {} if reference is None else nodule_names(case, reference)
    nodules = []
    for label, probability in enumerate(predicted.probability, start=1):
        name = "" if reference is None else names.get(_most_common(reference, labels, label), "")
        has_answer = reference is not None or case.role == "healthy"
        columns = {
            "finding": label,
            "probability": probability,
            "reference": name,
            "matched": int(bool(name)) if has_answer else None,
        }
        nodules.append(_nodule(f"finding_{label}", labels, label, columns))
    return nodules


def nodule_names(case: Case, labels: Volume) -> dict[int, str]:
    """Return the name of each label: of the listed nodule that lies on it, or the label itself."""
    instances = instance_voxels(labels)
    names = {label: str(label) for label in instances}
    if not instances:
        return {}
    for nodule in case.nodules:
        nearest, distance_mm = nearest_instance(nodule, [*instances.values()], labels)
        if not nodule.ignored and distance_mm <= centre_tolerance_mm(nodule, labels):
            names[[*instances][nearest]] = nodule.name
    repeated = pd.Index(names.values()).duplicated(keep=False)
    return {
        label: f"label {label}" if twice and name == str(label) else name
        for (label, name), twice in zip(names.items(), repeated, strict=True)
    }


def size_columns(mask: Volume) -> dict[str, float]:
    """Return volume, and diameter of the ball of this volume, from the voxels of a mask."""
    voxel_mm3, count = float(np.prod(mask.spacing_mm)), int(np.count_nonzero(mask.data))
    diameter_mm = float(ball_diameter_mm(count, voxel_mm3))
    return {"volume_mm3": round(count * voxel_mm3, 3), "diameter_mm": round(diameter_mm, 3)}


def _has_reference(case: Case) -> bool:
    return case.role == "labelled" and case.mask is not None


def _reference_labels(case: Case, image: Volume) -> Volume:
    """Read a mask and number its nodules."""
    assert case.mask is not None
    return read_instances(case.mask, image)


def _nodule(
    name: str, labels: Volume, label: int, columns: Mapping[str, object] | None = None
) -> NoduleMask:
    mask = Volume(labels.data == label, labels.affine)
    return NoduleMask(name, mask, {**(columns or {}), **size_columns(mask)})


def _most_common(reference: Volume, labels: Volume, label: int) -> int:
    """Return the label of the reference that most voxels of a finding have, without background."""
    inside: NDArray[np.uint8] = reference.data[labels.data == label]
    counts = np.bincount(inside, minlength=IGNORE + 1)
    counts[[0, IGNORE]] = 0
    return int(counts.argmax()) if counts.any() else 0
