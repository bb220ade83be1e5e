"""Frames of patient coordinates in which findings are written."""

from __future__ import annotations

import pandas as pd

from semilung.inference.findings import COORDINATES

FRAMES = {
    "lps": "LPS+: patient coordinates in mm, as in DICOM and ITK; negate x and y for RAS+ (NIfTI)",
    "ras": "RAS+: patient coordinates in mm, as in NIfTI; negate x and y for LPS+ (DICOM, LUNA16)",
}
"""Name of each frame to its meaning; the first is that of LUNA16, and the default."""

LPS = "lps"

FRAME_COLUMN = "frame"
"""Last column of a table in another frame than LUNA16's."""


def frame_named(meaning: object) -> str | None:
    """Return the name of a frame from its meaning, as JSON files state it; None if unknown.

    Example:
        >>> frame_named(FRAMES["ras"])
        'ras'
    """
    return next((name for name, text in FRAMES.items() if text == meaning), None)


def in_frame(findings: pd.DataFrame, frame: str) -> pd.DataFrame:
    """Return findings of LPS+ coordinates in a frame.

    A table in another frame than LUNA16's says so in a last column, for its first columns cannot.

    Example:
        >>> table = pd.DataFrame({"coordX": [1.5], "coordY": [-2.0], "coordZ": [3.0]})
        >>> in_frame(table, "ras").values.tolist()
        [[-1.5, 2.0, 3.0, 'RAS']]
    """
    if frame == LPS:
        return findings
    x, y, _ = COORDINATES
    turned = findings.copy()
    turned[[x, y]] = 0 - turned[[x, y]]  # no negative zeros
    turned[FRAME_COLUMN] = frame.upper()
    return turned
