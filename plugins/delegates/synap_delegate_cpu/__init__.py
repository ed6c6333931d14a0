"""Delegate that runs layers on the processor cores, in the source model's own format."""
