"""Delegate that runs layers on the graphics unit, in the source model's own format."""
