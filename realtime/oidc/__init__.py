"""Speaks OpenID Connect with the configured provider: the only outgoing HTTP of a node."""
