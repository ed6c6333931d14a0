"""From a Caffe network to the canonical graph: one function per layer type, in the package ``ops``."""
