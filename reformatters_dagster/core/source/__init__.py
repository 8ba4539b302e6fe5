"""Upstream archives and files: bytes that were verified."""
