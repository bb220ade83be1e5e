"""Insertion of real and synthetic nodules into healthy crops, with exact masks."""
