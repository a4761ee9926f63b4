"""What platform admins may see and do: one resource per file."""
