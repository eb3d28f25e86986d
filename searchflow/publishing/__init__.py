"""The marts in a PostgreSQL schema, for people with their own BI tool. `searchflow publish` writes them."""

from __future__ import annotations

from searchflow.publishing.publish import Published, publish

__all__ = ["Published", "publish"]
