"""The wire, sans-IO: bytes in, typed values out. Knows no socket, no clock and no trio."""
