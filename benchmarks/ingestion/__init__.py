"""What `benchmarks.ingest` measures with: its traffic, the work it times, and its peer. May import only `searchflow`."""
