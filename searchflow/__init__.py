"""What the platform's packages share: settings, events, services, the warehouse, ingestion, ops and the command line.

This package imports nothing from `generators`, `activations`, `expectations`, `dashboards` or `flows`, except in
`searchflow.cli`, which starts flows. Its own packages and modules stand on floors, and each imports only from floors
below its own: `tests/platform/test_imports.py` lists them from the ground up.
"""

__version__ = "0.1.0"
