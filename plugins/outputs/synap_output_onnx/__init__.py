"""Output format ``onnx``: the whole canonical graph as an ONNX model."""
