"""Frontend for frozen TensorFlow graphs."""
