"""DICOM series: which one is read, its slices, and the volume they make."""
