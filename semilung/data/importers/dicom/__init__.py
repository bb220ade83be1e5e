"""DICOM as hospitals have it: trees of patients, their series, and masks of these."""
