"""Delegate that runs layers on the processor cores: in the model's own format, or as ONNX operators."""
