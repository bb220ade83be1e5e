"""Centre detection: the base strategy of the task detection."""

from semilung.strategies.centre_detection.centre_detection import CentreDetection, centre_focal_loss

__all__ = ["CentreDetection", "centre_focal_loss"]
