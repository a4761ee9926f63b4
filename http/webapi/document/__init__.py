"""The description of all routes, made from them, and the pages that show it."""
