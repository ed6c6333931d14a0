"""The program of the unit: one node per hardware operation, each with standard operators that equal it."""
