"""The twins of the stores in memory: they pass the same contracts, and forget everything."""
