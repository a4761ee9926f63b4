"""Load tools: they provision users, swarm over a running node, account for every message, write what was measured."""
