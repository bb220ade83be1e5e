"""Close-ups of single findings, and the choice of the false ones to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semilung.data.loading.intensity import scale_hu
from semilung.evaluation.case_picture import close_up_box
from semilung.evaluation.overlay import PREDICTION_RGB, REFERENCE_RGB
from semilung.evaluation.panels import KeyEntry, draw_panels, panel_row

WORST = 6
"""Number of false positives with a close-up in an evaluation."""

_PIXELS = 240
"""Edge of a plane; 60 mm are enlarged to it, and a picture takes about 100 KB."""


def worst_false_positives(
    cases: pd.DataFrame, findings: pd.DataFrame, most: int = WORST
) -> pd.DataFrame:
    """Return the most probable false findings: half of healthy scans, which come first.

    Where either kind of scan has fewer, the other has more.

    Args:
        cases: `case` and `role`.
        findings: `case`, `probability` and `false`, one row a finding.
        most: Number of rows at most.

    Example:
        >>> cases = pd.DataFrame({"case": [*"ah"], "role": ["labelled", "healthy"]})
        >>> findings = pd.DataFrame({"case": [*"aah"], "probability": [0.9, 0.8, 0.3]})
        >>> worst_false_positives(cases, findings.assign(false=True), 2)["case"].tolist()
        ['h', 'a']
    """
    false = findings[findings["false"].astype(bool)]
    false = false.sort_values("probability", ascending=False, kind="stable")
    healthy = false["case"].isin(cases.loc[cases["role"] == "healthy", "case"])
    n_healthy = max(most // 2, most - int((~healthy).sum()))
    first = false[healthy].head(n_healthy)
    return pd.concat([first, false[~healthy].head(most - len(first))])


def finding_picture(
    image_hu: NDArray[Any],
    *,
    finding: NDArray[Any],
    reference: NDArray[Any],
    at: Sequence[int],
    spacing_mm: Sequence[float],
    window_hu: tuple[float, float],
    title: str,
    text: str,
) -> NDArray[np.uint8]:
    """Draw axial, coronal and sagittal plane of the 60 mm around a finding.

    Args:
        image_hu: `(X, Y, Z)` in HU, axes towards right, anterior, superior (RAS).
        finding: `(X, Y, Z)`, outlined in orange where it is not 0.
        reference: `(X, Y, Z)`, nodules, outlined in sky blue where it is not 0.
        at: Voxel of its centre.
        spacing_mm: Voxel size along X, Y, Z.
        window_hu: HU drawn as black and as white.
        title: Name of the case.
        text: Size and probability, in the colour of the outline.

    Returns:
        `(H, W, 3)` uint8.
    """
    box, centre = close_up_box(image_hu.shape, at, spacing_mm)
    grey = np.asarray(scale_hu(image_hu[box], window_hu) * 255, np.uint8)
    volumes = [grey, reference[box] != 0, finding[box] != 0]
    key = [KeyEntry(text, PREDICTION_RGB)]
    if volumes[1].any():
        key.append(KeyEntry("reference", REFERENCE_RGB))
    row = panel_row(volumes, centre, spacing_mm, pixels=_PIXELS)
    return draw_panels([row], title=title, window_hu=window_hu, key=key)
