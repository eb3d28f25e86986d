"""Events into raw, exactly once: sources are read from the position stored in the warehouse, and rows, dead letters
and the new position are committed in one transaction."""

from searchflow.ingestion.direct_source import ingest_lines, next_offset

__all__ = ["ingest_lines", "next_offset"]
