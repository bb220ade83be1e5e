"""Anatomical classes."""

from semilung.data.anatomy.classes import ANATOMY

__all__ = ["ANATOMY"]
