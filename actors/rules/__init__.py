"""Pure decisions: no trio, no clock, no randomness, no I/O."""
