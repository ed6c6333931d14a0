"""Frontend for TensorFlow Lite models."""
