"""Type rules of the operators of the canonical graph, by family; `synap_core.graph.infer` loads them."""
