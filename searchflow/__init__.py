"""What the platform's packages share: settings, events, services, the warehouse, ingestion, ops and the command line.

Imports nothing of `generators`, `activations`, `expectations`, `dashboards` or `flows`, except in `searchflow.cli`,
which starts flows.
"""

__version__ = "0.1.0"
