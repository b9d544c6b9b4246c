"""Floor 2: from a graph to the graph of its gradient."""
