"""Floor 1: what an ONNX model is here."""
