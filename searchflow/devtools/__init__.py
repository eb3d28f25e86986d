"""What contributors run on the repository itself; no part of the running platform. May import only `searchflow`."""
