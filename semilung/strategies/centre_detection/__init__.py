"""Centre detection: the base strategy of the task detection."""

from semilung.strategies.centre_detection.centre_detection import CentreDetection

__all__ = ["CentreDetection"]
