"""Fit of the NPU cost model to published timings: the networks as lists of operations, the fit, and its report."""
