"""The canonical graph: conventions, building, editing, normalising, grouping and writing.

A canonical graph is an `onnx_ir.Model` of operators of the default domain at opset 19, with static shapes and batch 1,
constants as initializers alone, and the annotations of `synap_core.graph.annotations`.
"""
