"""Rows of the table of features: one a nodule of a case, and one a perturbed mask of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

from semilung.data.io.volume import Volume
from semilung.data.manifest.cases import Case
from semilung.radiomics.mask_perturbation import perturbed_masks
from semilung.radiomics.nodule_masks import (
    NoduleMask,
    PredictedMask,
    predicted_nodules,
    read_image,
    reference_nodules,
)
from semilung.radiomics.radiomic_features import radiomic_features
from semilung.radiomics.radiomics_settings import RadiomicsSettings

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class NoduleRows:
    """Rows of one case: of its nodules, and of their perturbed masks if these were wanted."""

    nodules: list[Row]
    perturbed: list[Row]


def nodule_rows(
    case: Case,
    settings: RadiomicsSettings,
    *,
    predicted: PredictedMask | None = None,
    perturb: bool = False,
) -> NoduleRows:
    """Compute the features of all nodules of a case.

    Args:
        case: With a mask of its own, unless one was predicted.
        settings: Of the features.
        predicted: A run's mask, used instead of the case's own.
        perturb: Compute the features of perturbed masks too.

    Raises:
        UserError: A volume cannot be read, or image and mask do not fit.
    """
    image = read_image(case)
    if predicted is None:
        nodules = reference_nodules(case, image)
    else:
        nodules = predicted_nodules(case, image, predicted)
    rows, perturbed = [], []
    for nodule in nodules:
        features = _features(case, nodule.name, image, nodule.mask, settings)
        rows.append({**_case_columns(case, nodule), **nodule.columns, **features})
        perturbed += _perturbed_rows(case, nodule, image, settings) if perturb else []
    return NoduleRows(rows, perturbed)


def _case_columns(case: Case, nodule: NoduleMask) -> Row:
    return {
        "case": case.case,
        "patient": case.patient,
        "nodule": nodule.name,
        "role": case.role,
        "split": case.split or "",
        "cohort": case.cohort,
    }


def _features(
    case: Case, nodule: str, image: Volume, mask: Volume, settings: RadiomicsSettings
) -> Row:
    """Return features; a warning names the nodule."""
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always", UserWarning)
        features = radiomic_features(image, mask, settings)
    for warning in issued:
        warnings.warn(f"case {case.case}, nodule {nodule}: {warning.message}", stacklevel=2)
    return features


def _perturbed_rows(
    case: Case, nodule: NoduleMask, image: Volume, settings: RadiomicsSettings
) -> list[Row]:
    """Return a row a perturbed mask, without warnings: an eroded mask may well be empty."""
    box, masks = perturbed_masks(image, nodule.mask)
    rows = []
    for name, mask in masks.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            features = radiomic_features(box, mask, settings)
        named = {"case": case.case, "nodule": nodule.name, "perturbation": name}
        rows.append({**named, **features})
    return rows
