"""Floor 3: what to climb, written forwards."""
