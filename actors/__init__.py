"""Owners of state: the actor runtime, the actors, and the ports through which they reach the world."""
