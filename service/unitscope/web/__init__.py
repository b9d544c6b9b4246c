"""Floor 5: the HTTP side door."""
