"""Post-training quantization: ranges from statistics of samples, refined where it helps."""
