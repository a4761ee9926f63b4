"""Several processes behind one port: what the supervisor and its workers agree on."""
