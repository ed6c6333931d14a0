"""Compare the quantizer with ONNX Runtime and NNCF: ``python -m benchmarks.quantization``."""
