"""Subgraphs that are compiled from the canonical graph: building it, its data types, and cutting it into parts."""
