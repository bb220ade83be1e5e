"""Data sets with a `dataset.json`: the Medical Segmentation Decathlon and nnU-Net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from semilung.data.importers.importer import importers
from semilung.data.importers.scan_files import by_name, scans_below
from semilung.data.io.volume import read_volume, stem_of, write_volume
from semilung.data.manifest.cases import Case
from semilung.files import read_json
from semilung.types import IGNORE, UserError

DATASET = "dataset.json"
NOT_NODULES = ("background", "ignore")


@importers.register("msd")
class Decathlon:
    """Medical Segmentation Decathlon: `dataset.json` with pairs of images and labels.

    Training scans are labelled, those of its test list unlabelled.

    Args:
        nodule: Names of the labels that are nodules; by default the only one.

    Source: Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022.
    """

    def __init__(self, *, nodule: Sequence[str] = ()) -> None:
        self._nodule = list(nodule)

    def cases(self, source: Path, out: Path) -> Sequence[Case]:
        """Return a case for each scan; errors as `Importer.cases`."""
        content = _dataset(source, ("training", "labels"))
        named = {str(name): int(value) for value, name in content["labels"].items()}
        values = _nodule_values(source, named, self._nodule)
        cases = []
        for pair in content["training"]:
            image, label = (_path_of(source, pair, key) for key in ("image", "label"))
            mask = _mask(label, named, values, out)
            cases.append(_case(stem_of(image), image, mask))
        for entry in content.get("test", []):
            image = _path_of(source, {"image": entry}, "image")
            cases.append(_case(stem_of(image), image, None))
        return cases


@importers.register("nnunet")
class NnUnet:
    """nnU-Net raw data set, version 2: `imagesTr/CASE_0000.*`, `labelsTr/CASE.*`, `imagesTs`.

    Scans without a label are unlabelled, and those of `imagesTs` with one in `labelsTs` are in the
    split `test`. The label `ignore` becomes 255.

    Args:
        nodule: Names of the labels that are nodules; by default the only one.
        channel: Number of the image's channel that is the CT.

    Source: Isensee et al., nnU-Net, Nature Methods 2021; its page `dataset_format.md`.
    """

    def __init__(self, *, nodule: Sequence[str] = (), channel: int = 0) -> None:
        self._nodule = list(nodule)
        self._ending = f"_{channel:04d}"

    def cases(self, source: Path, out: Path) -> Sequence[Case]:
        """Return a case for each scan; errors as `Importer.cases`."""
        named = _dataset(source, ("labels",))["labels"]
        values = _nodule_values(source, named, self._nodule)
        cases = []
        for part in ("Tr", "Ts"):
            labels = by_name(_scans_of(source / f"labels{part}"))
            for image in _scans_of(source / f"images{part}"):
                name, label = stem_of(image).removesuffix(self._ending), None
                if name == stem_of(image):
                    continue  # another channel
                if name in labels:
                    label = _mask(labels[name], named, values, out)
                case = _case(name, image, label)
                cases.append(replace(case, split="test") if label and part == "Ts" else case)
        return cases


def _scans_of(folder: Path) -> list[Path]:
    return scans_below(folder) if folder.is_dir() else []


def _case(name: str, image: Path, mask: Path | None) -> Case:
    role = "unlabelled" if mask is None else "labelled"
    return Case(case=name, patient=name, image=image, role=role, mask=mask)  # type: ignore[arg-type]


def _dataset(source: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Return the content of `dataset.json`.

    Raises:
        UserError: It is missing or damaged.
    """
    path = source / DATASET
    if not path.is_file():
        raise UserError(
            f"{source} has no {DATASET}, which lies next to imagesTr and labelsTr in a data set of "
            f"nnU-Net (Dataset123_NAME) or of the Decathlon (Task06_Lung); give that folder, or "
            f"import scans without it by the format folder"
        )
    content = read_json(path)
    if not isinstance(content, dict) or any(key not in content for key in keys):
        raise UserError(f"{path} is none of a data set: it needs {', '.join(keys)}")
    if not isinstance(content["labels"], dict):
        raise UserError(f"{path}: labels must be names and numbers, found {content['labels']!r}")
    return content


def _path_of(source: Path, entry: Any, key: str) -> Path:
    path = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(path, str):
        raise UserError(
            f"{source / DATASET}: an entry has no path of its {key}: {str(entry)[:100]}"
        )
    return source / path


def _nodule_values(source: Path, labels: Mapping[str, Any], names: Sequence[str]) -> set[int]:
    """Return the values of the labels that are nodules.

    Raises:
        UserError: A name does not exist, or several labels may be meant.
    """
    present = [name for name in labels if name not in NOT_NODULES]
    if absent := [name for name in names if name not in present]:
        raise UserError(f"{source} has no label {', '.join(absent)}, it has {', '.join(present)}")
    if not names and len(present) != 1:
        raise UserError(
            f"{source} has the labels {', '.join(present) or 'of background alone'}; name those "
            f"that are nodules, as in nodule='[{present[0] if present else 'tumour'}]'"
        )
    chosen = [labels[name] for name in names or present]
    if not all(isinstance(value, int) for value in chosen):
        raise UserError(f"{source}: labels of regions ({chosen}) are not read; use single labels")
    return set(chosen)


def _mask(label: Path, labels: Mapping[str, Any], values: set[int], out: Path) -> Path:
    """Return the mask of a label map: the file itself where its values are ours."""
    ignore = labels.get("ignore")
    others = {v for n, v in labels.items() if n != "background" and v not in values}
    if not others:
        return label
    volume = read_volume(label)
    mask = np.isin(volume.data, list(values)).astype(np.uint8)
    if ignore is not None:
        mask[volume.data == ignore] = IGNORE
    path = out / "masks" / f"{stem_of(label)}.nii.gz"
    write_volume(path, mask, volume.affine, like=label)
    return path
