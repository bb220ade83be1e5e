"""Anomaly detection: foreign patches in healthy anatomy (FPI, PII)."""
