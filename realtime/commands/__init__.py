"""The commands of `kith`, one a file; like main.py they put a node's parts together and so may import storage."""
