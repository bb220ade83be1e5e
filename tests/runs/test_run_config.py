"""Settings of a finished run: which may be replaced, and which are refused."""

import pytest

from semilung.runs.run_config import with_settings
from semilung.runs.train_config import TrainConfig
from semilung.types import UserError


def test_with_settings_replaces_inference_and_evaluation_settings():
    config = with_settings(TrainConfig(), ["inference.overlap=0.25", "evaluation.empty=nnunet"])
    assert (config.inference.overlap, config.evaluation.empty) == (0.25, "nnunet")
    assert TrainConfig().inference.overlap == 0.5


@pytest.mark.parametrize(
    "word",
    [
        "overlap=0.25",
        "seed=1",
        "data.spacing_mm=[9,9,9]",
        "model.widths=[8,8]",
        "inference.overlap",
    ],
)
def test_with_settings_of_another_kind_is_refused(word):
    with pytest.raises(UserError, match="is not a setting of a finished run"):
        with_settings(TrainConfig(), [word])


def test_with_settings_as_one_text_is_refused():
    with pytest.raises(UserError, match="put it into a list"):
        with_settings(TrainConfig(), "inference.overlap=0.25")
