"""Typed structs of every noun, command and event; imports nothing of ours."""
