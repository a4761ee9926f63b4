"""The web application: parse, ask an actor or a query, answer."""
