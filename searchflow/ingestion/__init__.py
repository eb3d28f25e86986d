"""Ingestion: brings events into the raw tables exactly once. Each source is read from the position stored in the
warehouse. Rows, dead letters and the new position are committed in one transaction.
"""

from searchflow.ingestion.direct_source import ingest_lines, next_offset

__all__ = ["ingest_lines", "next_offset"]
