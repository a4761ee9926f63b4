"""Everything that lasts: it implements the ports of actors/ports.py."""
