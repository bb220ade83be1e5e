"""The manifest: cases, splits, and the check of everything that it names."""
