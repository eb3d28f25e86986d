"""What `searchflow bench` runs: each figure is a ratio to a limit measured in the same run."""
