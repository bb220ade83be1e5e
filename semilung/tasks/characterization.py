"""Characterization: what a nodule is, such as its malignancy."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan, nan
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from semilung.data import Case, Volume
from semilung.data.cache.prepared_case import PreparedNodule
from semilung.data.cache.prepared_grid import instances_onto
from semilung.data.content.nodule_instances import instance_numbers, nodule_instances
from semilung.data.io.grid import Affine, Grid, spacing_of, voxel_of
from semilung.data.io.opened_volume import LPS_TO_RAS
from semilung.data.manifest.targets import Target, targets_of
from semilung.evaluation.case_evaluation import Report
from semilung.evaluation.metrics import CHARACTERIZATION
from semilung.evaluation.ranking import auc_shares
from semilung.inference.findings import COORDINATES, FINDING_COLUMNS
from semilung.inference.outputs import at_stride
from semilung.inference.predictor import ScanMaps
from semilung.losses import ordinal_probabilities
from semilung.strategies.core.nodule_pooling import DESCRIPTIONS, STRIDE, pool_nodule
from semilung.strategies.nodule_targets import nodule_share
from semilung.tasks.task import CasePrediction, Evaluated, Task, register

_RESERVED = (*FINDING_COLUMNS, "frame")
"""Names of columns of findings, which a target cannot have."""


@at_stride(STRIDE)
def evidence(output: Tensor) -> Tensor:
    """Return the head's output, float32: evidence is averaged before it becomes a probability."""
    return output.float()


@register("characterization")
class Characterization(Task):
    """Characterization: targets of each nodule, from evidence in it and around it.

    In an evaluation the nodules are those of the reference; `predict` describes what the other
    tasks of the run find.

    Args:
        targets: Column of `nodules.csv` to its `kind` (binary, ordinal, classes, regression) and
            `values`, see `Target.of`. The first one's AUC is the score; it is binary or ordinal, in
            which case the classes above the middle are positive, and a middle one is left out.

    Raises:
        ValueError: No target, an invalid one, or one of the name of a column of findings.
    """

    base = "nodule_targets"
    heads: ClassVar = {DESCRIPTIONS: evidence}
    metrics = CHARACTERIZATION

    def __init__(self, *, targets: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.targets = targets_of(targets)
        first = self.targets[0]
        if first.kind not in ("binary", "ordinal"):
            raise ValueError(f"the first target must be binary or ordinal, {first.name} is neither")
        self.term, self.base_options = first.name, {"targets": targets}
        self.descriptions = {target.name: target.meaning for target in self.targets}
        names = list(self.descriptions)
        if clashes := [name for name in names if name in _RESERVED]:
            raise ValueError(f"target {clashes[0]!r} has the name of a column of findings")
        predicted = [f"{name}_predicted" for name in names]
        self.lesion_columns = ("instance", "nodule", "diameter_mm", *names, *predicted,
                               "auc_share", "size_auc_share", "auc_gain")  # fmt: skip

    def evaluates(self, case: Case) -> bool:
        """Return whether any nodule of a case has a value of a target."""
        return case.role == "labelled" and any(
            not isnan(target.number(nodule.targets.get(target.name)))
            for nodule in case.nodules
            for target in self.targets
        )

    def validate(self, predicted: CasePrediction) -> dict[str, Any]:
        """Return the rows of nodules, from which `pool` makes the metrics."""
        return {"lesions": self.evaluate(predicted).lesions}

    def pool(self, validated: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the AUC of the first target; NaN, with a warning, where it is not defined."""
        lesions = pd.DataFrame([row for case in validated for row in case["lesions"]])
        if lesions.empty:
            return {}
        auc = float(self._shares(lesions)["auc_share"].mean())
        if isnan(auc):
            self._warn_of_one_class(lesions)
        return {self.score.name: auc}

    def evaluate(self, predicted: CasePrediction) -> Evaluated:
        """Return reference and prediction of each target for each nodule of the reference."""
        case = predicted.case
        share = None
        if "mask" in case.files:
            mask = torch.from_numpy(case.read("mask").astype(np.float32))
            share = nodule_share(mask[None, None])[0]
        rows = []
        nodules = [nodule for nodule in case.nodules if not nodule.ignored]
        instances = instance_numbers([nodule.name for nodule in nodules])
        for instance, nodule in zip(instances, nodules, strict=True):
            if nodule.diameter_mm is None:
                continue
            outputs = pool_nodule(
                predicted.maps[DESCRIPTIONS], nodule.voxel, nodule.diameter_mm, case.spacing_mm,
                mask=share,
            )  # fmt: skip
            rows.append(
                {
                    "instance": instance,
                    "nodule": nodule.name,
                    "diameter_mm": nodule.diameter_mm,
                    **{t.name: _reference(t, nodule) for t in self.targets},
                    **{f"{n}_predicted": value for n, value in self._predicted(outputs).items()},
                }
            )
        return Evaluated({}, rows)

    def complete(self, report: Report) -> Report:
        """Add each nodule's shares of the AUC."""
        return replace(report, lesions=report.lesions.assign(**self._shares(report.lesions)))

    def annotate(
        self, findings: pd.DataFrame, predicted: ScanMaps, mask: Volume | None = None
    ) -> pd.DataFrame:
        """Return findings with a column for each target; empty beyond the predicted part."""
        maps, spacing_mm = predicted.maps[DESCRIPTIONS], spacing_of(predicted.affine)
        share = None if mask is None else _share(mask, maps, predicted.affine)
        rows: list[dict[str, float | str]] = []
        for x, y, z, diameter_mm in findings[[*COORDINATES, "diameter_mm"]].to_numpy(float):
            point = (LPS_TO_RAS @ [x, y, z, 1])[:3]
            voxel = voxel_of(predicted.affine, point).tolist()
            rows.append(
                self._predicted(pool_nodule(maps, voxel, diameter_mm, spacing_mm, mask=share))
            )
        described = pd.DataFrame(rows, index=findings.index, columns=list(self.descriptions))
        return findings.join(described.round(4))

    def _predicted(self, outputs: Tensor) -> dict[str, float | str]:
        if outputs.isnan().any():
            return dict.fromkeys(self.descriptions, nan)
        channels = [target.channels for target in self.targets]
        parts = zip(self.targets, torch.split(outputs, channels), strict=True)
        return {target.name: predicted_value(target, part) for target, part in parts}

    def _warn_of_one_class(self, lesions: pd.DataFrame) -> None:
        target = self.targets[0]
        counts = lesions[target.name].value_counts().sort_index()
        present = ", ".join(f"{value:g} ({count} times)" for value, count in counts.items())
        warnings.warn(
            f"val/auc is not defined, as the validation has only one class: the values of "
            f"{target.name} of its {len(lesions)} nodules are {present or 'all missing'}, and an "
            f"AUC needs values on both sides of the middle; put such cases into the split val",
            stacklevel=3,
        )

    def _shares(self, lesions: pd.DataFrame) -> pd.DataFrame:
        """Return the shares of the AUC of prediction and diameter, and their differences."""
        target = self.targets[0]
        ranks = lesions[target.name].map({level: i for i, level in enumerate(target.levels)})
        middle = (len(target.values) - 1) / 2
        labelled = lesions[ranks.notna() & (ranks != middle)]
        positive = ranks[labelled.index].to_numpy(float) > middle
        rising = 1 if target.levels[0] < target.levels[-1] else -1
        predicted = rising * labelled[f"{target.name}_predicted"].to_numpy(float)
        shares = pd.DataFrame(
            {
                "auc_share": auc_shares(predicted, positive),
                "size_auc_share": auc_shares(labelled["diameter_mm"].to_numpy(float), positive),
            },
            index=labelled.index,
        )
        shares["auc_gain"] = shares["auc_share"] - shares["size_auc_share"]
        return shares.reindex(lesions.index)


def predicted_value(target: Target, outputs: Tensor) -> float | str:
    """Return the value that a target's outputs `(C,)` stand for, as `Target.meaning` describes it.

    It is the probability of the positive class (binary), the expected one of `Target.levels`
    (ordinal), the spelling of the most probable class (classes), or the number in the column's unit
    (regression).
    """
    if target.kind == "binary":
        return float(outputs[0].sigmoid())
    if target.kind == "ordinal":
        return float(ordinal_probabilities(outputs[None].double())[0] @ _doubles(target.levels))
    return target.value(float(outputs.argmax() if target.kind == "classes" else outputs[0]))


def _doubles(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _reference(target: Target, nodule: PreparedNodule) -> float | str:
    return target.value(target.number(nodule.targets.get(target.name)))


def _share(mask: Volume, maps: Tensor, affine: Affine) -> Tensor:
    """Return the share of nodule in each voxel of the maps, as training has it of a prepared mask.

    Args:
        mask: `(X, Y, Z)` on the scan's grid, 255 is ignored.
        maps: `(C, X', Y', Z')` at stride 2.
        affine: Of the prepared image.
    """
    x, y, z = (STRIDE * n for n in maps.shape[1:])
    instances = Volume(nodule_instances(mask.data), mask.affine)
    prepared = torch.from_numpy(instances_onto(instances, Grid((x, y, z), affine)))
    return nodule_share(prepared[None, None])[0]
