"""Close-ups of findings, and which false positives have one."""

import numpy as np
import pandas as pd
import pytest

from semilung.evaluation.finding_picture import finding_picture, worst_false_positives
from semilung.evaluation.overlay import PREDICTION_RGB, REFERENCE_RGB, png_bytes

CASES = pd.DataFrame({"case": ["a", "h", "g"], "role": ["labelled", "healthy", "healthy"]})


def findings(*rows):
    return pd.DataFrame(rows, columns=["case", "probability", "false"])


@pytest.mark.parametrize(
    ("counts", "chosen"), [((9, 9), (3, 3)), ((1, 9), (1, 5)), ((9, 2), (4, 2)), ((0, 0), (0, 0))]
)
def test_worst_false_positives_are_half_of_healthy_scans_where_both_have_enough(counts, chosen):
    healthy = [("hg"[i % 2], 0.3 + i / 100, True) for i in range(counts[0])]
    positive = [("a", 0.5 + i / 100, True) for i in range(counts[1])]
    worst = worst_false_positives(CASES, findings(("a", 0.99, False), *positive, *healthy))
    roles = worst["case"].map(CASES.set_index("case")["role"]).tolist()
    assert roles == ["healthy"] * chosen[0] + ["labelled"] * chosen[1]  # never the hit of 0.99
    for part in (worst[: chosen[0]], worst[chosen[0] :]):
        assert part["probability"].is_monotonic_decreasing
    assert worst["probability"].head(chosen[0]).tolist() == pytest.approx(
        [0.3 + i / 100 for i in reversed(range(counts[0]))][: chosen[0]]
    )


def test_finding_picture_shows_the_surroundings_alone_and_is_small():
    image = np.random.default_rng(0).normal(-800, 150, (90, 80, 70)).astype(np.int16)
    finding, reference = np.zeros((2, *image.shape), np.uint8)
    finding[2:8, 2:8, 2:8] = 1
    reference[70:80, 2:8, 2:8] = 1  # more than 60 mm away
    arguments = {"at": (5, 5, 5), "spacing_mm": (1, 1, 1), "window_hu": (-1000, 400)}
    rgb = finding_picture(
        image, finding=finding, reference=reference, title="<a>", text="6 mm", **arguments
    )
    assert (rgb == PREDICTION_RGB).all(axis=2).any()
    assert not (rgb == REFERENCE_RGB).all(axis=2).any()
    assert len(png_bytes(rgb)) < 250_000  # of noise, which compresses least
    near = finding_picture(
        image, finding=finding, reference=finding * 0 + (finding == 0), title="a", text="",
        **arguments,
    )  # fmt: skip
    assert (near == REFERENCE_RGB).all(axis=2).any()
