"""Floor 4: when and where it runs."""
