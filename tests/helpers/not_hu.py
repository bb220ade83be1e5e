"""Intensity changes by name, as functions of HU: those that keep HU and those that do not."""

from __future__ import annotations

import numpy as np


def padded(hu, value):
    """Set voxels outside of the round field of view to a constant."""
    x, y = (np.linspace(-1, 1, n) for n in hu.shape[:2])
    outside = x[:, None] ** 2 + y[None] ** 2 > 1
    return np.where(outside[..., None], value, hu)


def as_bytes(hu):
    return np.rint(255 * (np.clip(hu, -1000.0, 400.0) + 1000) / 1400)


def standardised(hu):
    return (hu - hu.mean()) / hu.std()


STILL_HU = {
    "as it is": lambda hu: hu,
    "float": lambda hu: hu + np.float32(0.3),
    "padded -1024": lambda hu: padded(hu, -1024),
    "padded -2000": lambda hu: padded(hu, -2000),
    "padded -3024": lambda hu: padded(hu, -3024),
    "padded -32768": lambda hu: padded(hu, -32768),
    "padded 0": lambda hu: padded(hu, 0),
    "lung window": lambda hu: np.clip(hu, -1350, 150),
    "clipped to -1000..400": lambda hu: np.clip(hu, -1000, 400),
    "metal": lambda hu: np.where(np.indices(hu.shape).sum(axis=0) < 6, 30000, hu),
}

NOT_HU = {
    "+1000": lambda hu: hu + 1000,
    "+1024": lambda hu: hu + 1024,
    "+1024, 0 at least": lambda hu: np.maximum(hu + 1024, 0),
    "+1000 padded -2000": lambda hu: padded(hu + 1000, -2000),
    "+1024 padded -2000": lambda hu: padded(hu + 1024, -2000),
    "+1024 padded -3024": lambda hu: padded(hu + 1024, -3024),
    "+1024 padded -1024": lambda hu: padded(hu + 1024, -1024),
    "+1024 padded 0": lambda hu: padded(hu + 1024, 0),
    "-1024": lambda hu: hu - 1024,
    "negated": lambda hu: -hu,
    "negated, padded -2000": lambda hu: padded(-hu, -2000),
    "clipped to -160..240": lambda hu: np.clip(hu, -160, 240),
    "clipped to -160..240, padded -2000": lambda hu: padded(np.clip(hu, -160, 240), -2000),
    "0..255": as_bytes,
    "0..255 less 128": lambda hu: as_bytes(hu) - 128,
    "0..255 less 255": lambda hu: as_bytes(hu) - 255,
    "0..255 less 1000": lambda hu: as_bytes(hu) - 1000,
    "z-scores": standardised,
    "z-scores x 100": lambda hu: standardised(hu) * 100,
    "0..1": lambda hu: (hu - hu.min()) / np.ptp(hu),
    "-1..1": lambda hu: 2 * (hu - hu.min()) / np.ptp(hu) - 1,
    "/ 1000": lambda hu: hu / 1000,
    "/ 10": lambda hu: hu / 10,
    "x 2": lambda hu: hu * 2,
    "unsigned": lambda hu: hu.astype(np.int16).astype(np.uint16),
    "12 bits": lambda hu: hu.astype(np.int16) & 0xFFF,
}
