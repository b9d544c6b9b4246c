"""Floor 5: the gRPC door."""
