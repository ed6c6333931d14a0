"""Compiles npu subgraphs with an external command."""
