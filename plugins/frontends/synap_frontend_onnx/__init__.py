"""Frontend for ONNX models."""
