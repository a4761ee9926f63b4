"""The composition root: which part of a node is made of what, and which part is handed to which."""
