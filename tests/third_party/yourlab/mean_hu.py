"""A task in a package of another lab: the mean HU of nodules."""

from typing import ClassVar

import numpy as np
import pandas as pd

from semilung.evaluation import Metric
from semilung.strategies import Needs, Strategy, Term
from semilung.strategies import register as register_strategy
from semilung.tasks import Evaluated, Task, register

AIR, SPAN = -1000, 1400  # HU that are 0, and the width of the window that is 1

ERROR = Metric(
    name="mean_hu_error", column="mean_hu_error", label="Error of the mean HU", short="HU error",
    unit="HU", direction="lower", digits=1, bounds=(0, 1e5), validated=True,
    meaning="Absolute error of the mean HU of a nodule, averaged over the nodules of a case.",
)  # fmt: skip


@register_strategy("mean_hu")
class MeanHuTerms(Strategy):
    """Mean HU of nodules: absolute error of the head's mean over each labelled crop's nodules."""

    def __init__(self, *, weight: float = 1.0):
        super().__init__()
        self.needs = Needs(
            views={"labelled": ("weak",)}, fields=("mask",), heads={"hu": 1}, tasks=("mean_hu",)
        )
        self.weight = weight

    def terms(self, step):
        nodule = (step.batch("labelled")["mask"] == 1).float()
        size = nodule.sum(dim=(1, 2, 3, 4)).clamp(min=1)
        difference = step.out("labelled")["hu"] - step.batch("labelled")["weak"]
        error = (difference * nodule).sum(dim=(1, 2, 3, 4)) / size
        return {"l1": Term(error.abs().mean(), self.weight)}


def hounsfield(x):
    return AIR + SPAN * x.float()


@register("mean_hu")
class MeanHu(Task):
    """Mean HU of each nodule, from a dense head."""

    base, term = "mean_hu", "l1"
    heads: ClassVar = {"hu": hounsfield}
    metrics = (ERROR,)
    lesion_columns = ("instance", "mean_hu", "predicted_mean_hu")
    files = ("mean_hu.csv",)

    def __init__(self, *, offset: float = 0.0):
        self.offset = offset

    def validate(self, predicted):
        return {ERROR.name: self.evaluate(predicted).row[ERROR.column]}

    def evaluate(self, predicted):
        case, hu = predicted.case, predicted.maps["hu"][0].numpy() + self.offset
        if case.case.role == "healthy":
            return Evaluated({ERROR.column: np.nan})
        mask, image = case.read("mask"), case.read("image")
        lesions = [
            {
                "instance": int(label),
                "mean_hu": float(image[mask == label].mean()),
                "predicted_mean_hu": float(hu[mask == label].mean()),
            }
            for label in np.unique(mask[(mask > 0) & (mask < 255)])
        ]
        errors = [abs(row["mean_hu"] - row["predicted_mean_hu"]) for row in lesions]
        return Evaluated({ERROR.column: np.mean(errors) if errors else np.nan}, lesions)

    def outputs(self, predictor, predicted):
        hu = predicted.maps["hu"][0] + self.offset
        return {"mean_hu.csv": pd.DataFrame({"mean_hu": [float(hu.mean())]})}
