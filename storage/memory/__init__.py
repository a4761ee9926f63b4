"""In-memory twins of the ports, for tests of actors: they pass the same contract suites as PostgreSQL."""
