"""Frontend for Caffe 1.0 models."""
