"""Volumes in files: NIfTI, MetaImage, NRRD and DICOM series; affines are in RAS+ mm."""
