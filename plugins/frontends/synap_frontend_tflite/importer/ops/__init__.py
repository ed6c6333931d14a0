"""Converters, grouped by family; `..registry.converters` loads every module here."""
