"""Delegate that compiles subgraphs for the neural processing unit to an open program, and predicts its cost."""
