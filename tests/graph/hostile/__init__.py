"""Files that no exporter writes: mutations of real models, and models made to harm a server."""
