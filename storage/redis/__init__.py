"""Redis or Valkey, which wakes the nodes of a deployment for each other; nothing is kept there (docs/sweep.md)."""
