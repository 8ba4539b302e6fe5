"""Datasets that the community contributes: small ones, each of one module."""
