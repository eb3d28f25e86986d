"""The marts in a PostgreSQL schema, for people with a BI tool of their own: `searchflow publish`."""

from __future__ import annotations

from searchflow.publishing.publish import Published, publish

__all__ = ["Published", "publish"]
