"""Quantization of a canonical graph with sample data.

Four parts that do not know each other: the plan says which tensors get which kind of parameters; an algorithm, which is
a plugin, turns samples into ranges and refines the result; the calibrator runs the graph; the annotation writes the
parameters into a graph.
"""
