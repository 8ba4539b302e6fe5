"""Validators: what must hold of a store as its readers see it."""
