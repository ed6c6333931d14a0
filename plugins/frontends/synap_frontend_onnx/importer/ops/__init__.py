"""Converters of operators by family."""
