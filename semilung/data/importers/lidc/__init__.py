"""LIDC-IDRI: DICOM series and the readers' XML, read without pylidc."""
