"""The one way to durable state: group commit with a receipt (docs/journal.md)."""
