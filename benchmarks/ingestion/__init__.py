"""Parts of the benchmark `benchmarks.ingest`: its traffic, the work it times, and its peer. May import only
`searchflow`."""
