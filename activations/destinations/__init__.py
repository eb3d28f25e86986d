"""Destinations: one module each, named like the `type` in a sync file; `activations.base` holds the contract."""
