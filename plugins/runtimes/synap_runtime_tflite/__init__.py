"""Runtime for TensorFlow Lite models on the host, by LiteRT."""
