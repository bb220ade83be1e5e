"""Batches: sampling of crops, geometry, augmentation and the loader."""
