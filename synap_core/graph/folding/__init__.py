"""How operators on constants are computed, by family; `synap_core.graph.evaluate` loads them."""
