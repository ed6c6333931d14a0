"""Runtime for ONNX models on the host, by ONNX Runtime."""
