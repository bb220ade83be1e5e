"""Hydra configuration groups, installed as `semilung.configs`."""
