"""Writers of findings: JSON, pictures, pages and DICOM SEG, whatever task predicted them."""
