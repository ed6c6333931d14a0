"""From a TensorFlow graph to the canonical graph: one function per operator, in the package ``ops``."""
