"""Nodule insertion: real and synthetic nodules in healthy crops, with exact masks."""
