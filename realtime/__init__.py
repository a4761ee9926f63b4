"""The WebSocket side of Kith and the composition root of a node."""
