"""From an ``.onnx`` graph to the canonical graph: one function per operator version, in `ops`."""
