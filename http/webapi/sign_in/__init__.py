"""Signing up, in and out: passwords, one-time codes, a provider, tickets, sessions."""
