"""The PostgreSQL that `make run` brings along, started from the binaries of a wheel."""
